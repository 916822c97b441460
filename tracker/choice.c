/*
 * choice: weighted draws without replacement. Nobody gains by guessing them, so they cost no call of the system: each thread has a
 * generator of its own (SplitMix64: Steele, Lea, Flood 2014), with a seed from the system.
 */
#include "tracker/choice.h"
#include <stdlib.h>

/* In [0, 1). */
static double random_unit(void)
{
    static _Thread_local uint64_t state;
    if (state == 0)
        arc4random_buf(&state, sizeof(state));
    state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t mixed = (state ^ (state >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (double)((mixed ^ (mixed >> 31)) >> 11) * 0x1.0p-53;
}

/* The mean busyness of the servers that reported theirs; 0 where none did. */
static double mean_busyness(const struct choice_server *servers, size_t count)
{
    double sum = 0;
    size_t known = 0;
    for (size_t i = 0; i < count; i++) {
        if (servers[i].has_load) {
            sum += servers[i].busyness;
            known++;
        }
    }
    return known > 0 ? sum / (double)known : 0;
}

static bool is_picked(const size_t *picked, size_t count, size_t index)
{
    for (size_t i = 0; i < count; i++) {
        if (picked[i] == index)
            return true;
    }
    return false;
}

/* The mean in the divisor damps: an idle server beside one of twice the mean gets three clients in four, not
 * all. */
static double server_weight(const struct choice_server *server, double mean)
{
    return 1.0 / (1.0 + mean + (server->has_load ? server->busyness : mean));
}

/* One server of RANK that is not picked yet, at random by weight; COUNT where none is left. */
static size_t pick_one(const struct choice_server *servers, size_t count, enum choice_rank rank, double mean,
                       const size_t *picked, size_t picked_count)
{
    double total = 0;
    for (size_t i = 0; i < count; i++) {
        if (servers[i].rank == rank && !is_picked(picked, picked_count, i))
            total += server_weight(&servers[i], mean);
    }
    double point = random_unit() * total;
    size_t last = count;
    for (size_t i = 0; i < count; i++) {
        if (servers[i].rank != rank || is_picked(picked, picked_count, i))
            continue;
        last = i;
        point -= server_weight(&servers[i], mean);
        if (point < 0)
            break;
    }
    return last;
}

size_t choice_servers(const struct choice_server *servers, size_t count, size_t wanted, size_t *picked)
{
    double mean = mean_busyness(servers, count);
    size_t picked_count = 0;
    for (int rank = CHOICE_READY; rank <= CHOICE_SUSPECT && picked_count < wanted; rank++) {
        if (rank >= CHOICE_DRAINING && picked_count > 0)
            break;
        while (picked_count < wanted) {
            size_t index = pick_one(servers, count, (enum choice_rank)rank, mean, picked, picked_count);
            if (index == count)
                break;
            picked[picked_count++] = index;
        }
    }
    return picked_count;
}

static bool group_share(const struct choice_group *group, double *share)
{
    if (!group->has_load || group->capacity <= 0)
        return false;
    double value = (double)group->free / (double)group->capacity;
    *share = value < 0 ? 0 : value > 1 ? 1 : value;
    return true;
}

static double group_weight(const struct choice_group *group, double average_share)
{
    double share = 0;
    if (!group_share(group, &share))
        share = average_share;
    return group->weight > 0 ? (double)group->weight * share : 0;
}

size_t choice_group(const struct choice_group *groups, size_t count)
{
    double sum = 0;
    size_t known = 0;
    for (size_t i = 0; i < count; i++) {
        double share = 0;
        if (group_share(&groups[i], &share)) {
            sum += share;
            known++;
        }
    }
    double average_share = known > 0 && sum > 0 ? sum / (double)known : 1;

    double total = 0;
    for (size_t i = 0; i < count; i++)
        total += group_weight(&groups[i], average_share);
    double point = random_unit() * total;
    size_t last = count;
    for (size_t i = 0; i < count; i++) {
        double weight = group_weight(&groups[i], average_share);
        if (weight <= 0)
            continue;
        last = i;
        point -= weight;
        if (point < 0)
            break;
    }
    return last;
}
