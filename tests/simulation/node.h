/*
 * node: a daemon's life on a node, as daemon.c gives it, without what belongs to a real process.
 */
#ifndef REEL_TESTS_SIMULATION_NODE_H
#define REEL_TESTS_SIMULATION_NODE_H

#include "common/daemon/daemon.h"
#include "tests/simulation/sim.h"

/* OVERRIDES: "section.name=value", ended by NULL; must live as long as the node. A start that fails leaves it not alive. */
void node_start(struct node *node, const struct daemon_spec *spec, const char *const *overrides);
/* What --init-db does. */
void node_init_db(const struct daemon_spec *spec, const char *const *overrides);

/* The configuration of a daemon with these options; it lasts for good. */
void *node_config(const struct daemon_spec *spec, const char *const *overrides);

const struct daemon_spec *storage_node_spec(void);
/* What --checkpoint does, on a fiber of a node. False: it failed. */
bool storage_node_checkpoint(const char *const *overrides);
const struct daemon_spec *idserver_node_spec(void);

#endif
