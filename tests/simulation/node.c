/*
 * node: a daemon's life on a node, as daemon.c gives it, without what belongs to a real process (signals, pid file,
 * admin port, privileges).
 */
#include "tests/simulation/node.h"

#include "common/base/log.h"
#include "common/daemon/host_name.h"
#include "common/daemon/daemon_options.h"

#include <stdlib.h>
#include <string.h>

struct life {
    struct daemon public;
    struct node *node;
    struct loop_group loops;
    struct daemon_options options;
    const char *arguments[128];
    int argument_count;
    void *config;
    struct task stopped;
};

void daemon_stopped(struct daemon *daemon)
{
    (void)daemon;
}

const char *host_name(void)
{
    const struct node *node = node_current();
    return node ? node->name : "nobody";
}

static void fail(const char *what, const struct error *error)
{
    violation("%s: %s", what, error->text);
}

static void load(struct life *life, const struct daemon_spec *spec, const char *const *overrides)
{
    struct error error = {0};
    life->arguments[life->argument_count++] = spec->name;
    life->arguments[life->argument_count++] = "-c";
    life->arguments[life->argument_count++] = "/dev/null";
    for (size_t i = 0; overrides[i]; i++) {
        life->arguments[life->argument_count++] = "-o";
        life->arguments[life->argument_count++] = overrides[i];
    }
    if (!daemon_options_parse(&life->options, spec, life->argument_count, (char **)(uintptr_t)life->arguments,
                              &error) ||
        !(life->config = daemon_options_load_config(&life->options, &error)))
        fail("the options of a node", &error);
    life->public.spec = spec;
    life->public.config = life->config;
    life->public.loops = &life->loops;
}

static void *live(void *argument)
{
    struct life *life = argument;
    struct error error = {0};
    const struct daemon_config *config = life->config;
    life->public.main_loop = loop_create("main", &error);
    if (!life->public.main_loop || !loop_group_create(&life->loops, "loop", (size_t)config->loops, &error))
        fail("a node's loops", &error);
    if (!life->public.spec->start(&life->public, &error)) {
        say("does not start: %s", error.text);
        life->node->alive = false;
        return NULL;
    }
    if (!loop_group_start(&life->loops, &error))
        fail("a node's loops", &error);
    loop_run(life->public.main_loop);
    return NULL;
}

void node_start(struct node *node, const struct daemon_spec *spec, const char *const *overrides)
{
    struct life *life = calloc(1, sizeof(*life));
    life->node = node;
    node->alive = true;
    node->starts++;
    load(life, spec, overrides);
    say("%s starts", node->name);
    (void)fiber_start(node, "main", live, life);
}

void node_init_db(const struct daemon_spec *spec, const char *const *overrides)
{
    struct life *life = calloc(1, sizeof(*life));
    struct error error = {0};
    load(life, spec, overrides);
    if (!spec->init_db(life->config, &error))
        fail("--init-db of a node", &error);
    daemon_options_free_config(&life->options, life->config);
    daemon_options_clear(&life->options);
    free(life);
}

void *node_config(const struct daemon_spec *spec, const char *const *overrides)
{
    struct life *life = calloc(1, sizeof(*life));
    load(life, spec, overrides);
    return life->config;
}
