/*
 * idserver_node: reel-idserver on a node: its main.c as it is, whose specification is taken where it would run.
 */
#include "tests/simulation/node.h"

int idserver_node_main(int argc, char **argv);
int idserver_node_take(const struct daemon_spec *given, int argc, char **argv);

#define daemon_run idserver_node_take
#define main       idserver_node_main
#include "idserver/spellings.h"
/* Before the run there are no threads, and so no pool of connections; the database is a new one. */
#define spellings_check_database(config, error) ((void)(config), (void)(error), true)
#include "idserver/main.c" /* NOLINT: the daemon under test */
#undef daemon_run
#undef main

static struct daemon_spec taken;

int idserver_node_take(const struct daemon_spec *given, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    taken = *given;
    return 0;
}

const struct daemon_spec *idserver_node_spec(void)
{
    if (!taken.name)
        (void)idserver_node_main(0, NULL);
    return &taken;
}
