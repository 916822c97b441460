/*
 * storage_node: reel-storage on a node: its main.c as it is, whose specification is taken where it would run.
 */
#include "tests/simulation/node.h"

int storage_node_main(int argc, char **argv);
int storage_node_take(const struct daemon_spec *given, int argc, char **argv);

#define daemon_run storage_node_take
#define main       storage_node_main
#include "storage/main.c" /* NOLINT: the daemon under test */
#undef daemon_run
#undef main

static struct daemon_spec taken;

int storage_node_take(const struct daemon_spec *given, int argc, char **argv)
{
    (void)argc;
    (void)argv;
    taken = *given;
    return 0;
}

const struct daemon_spec *storage_node_spec(void)
{
    if (!taken.name)
        (void)storage_node_main(0, NULL);
    return &taken;
}

bool storage_node_checkpoint(const char *const *overrides)
{
    struct error error = {0};
    FILE *out = fopen("/dev/null", "we");
    if (!out)
        violation("cannot open /dev/null");
    bool fine = recovery_empty(node_config(storage_node_spec(), overrides), out, &error);
    (void)fclose(out);
    if (!fine)
        say("--checkpoint: %s", error.text);
    return fine;
}
