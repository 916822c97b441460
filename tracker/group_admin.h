/*
 * group_admin: the command GROUP: adds a group to t_groups_info, or changes its state or weight there, has
 * the groups read again and answers after that; the other trackers read them within their groups_refresh.
 * Accepted only from the addresses that the configuration names. Called by service.c.
 */
#ifndef REEL_TRACKER_GROUP_ADMIN_H
#define REEL_TRACKER_GROUP_ADMIN_H

#include "tracker/groups.h"
#include "common/config/config.h"
#include "common/serve/packet_server.h"

struct group_admin;

/* DB and GROUPS must outlive it. ADDRESSES as the configuration has them. */
MUST_CHECK struct group_admin *group_admin_create(struct db *db, struct groups *groups,
                                                  const struct config_strings *addresses,
                                                  struct error *error);
/* After the last request has ended. NULL is ignored. */
void group_admin_destroy(struct group_admin *admin);
/* At a reload, any thread. On failure the earlier addresses stay. */
MUST_CHECK bool group_admin_configure(struct group_admin *admin, const struct config_strings *addresses,
                                      struct error *error);

/* May REQUEST's sender change groups? Any thread. */
MUST_CHECK bool group_admin_allows(struct group_admin *admin, const struct packet_request *request,
                                   struct error *error);

/* On the request's loop; answers it, now or later. */
void group_admin_handle(struct group_admin *admin, struct packet_request *request);

#endif
