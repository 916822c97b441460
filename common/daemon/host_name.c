/*
 * host_name: asked of the kernel once, since every reply with an error has it.
 */
#include "common/daemon/host_name.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static char name_of_host[129];

static void read_host_name(void)
{
    char name[256];

    if (gethostname(name, sizeof(name)) != 0 || name[0] == '\0')
        (void)snprintf(name, sizeof(name), "localhost");
    name[sizeof(name) - 1] = '\0';
    (void)snprintf(name_of_host, sizeof(name_of_host), "%.128s", name);
}

const char *host_name(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, read_host_name);
    return name_of_host;
}
