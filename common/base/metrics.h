/*
 * metrics: counters, gauges and histograms, read as Prometheus text at the admin port's /metrics. Process-wide.
 * Names follow Prometheus: reel_<daemon>_<what>_<unit>[_total]; a family is registered before the loops run.
 */
#ifndef REEL_COMMON_METRICS_H
#define REEL_COMMON_METRICS_H

#include "common/base/base.h"

struct evbuffer;
struct metric; /* one time series; lives until the process ends */

/* NAME, HELP: literals. LABELS: e.g. "command=\"upload\"" or NULL; copied, values escaped where they need it. The same
 * name and labels give the same metric. Never NULL: without memory the process ends (start-up only). */
struct metric *metrics_counter(const char *name, const char *help, const char *labels);
struct metric *metrics_gauge(const char *name, const char *help, const char *labels);
/* Durations: observed in microseconds, shown in seconds; buckets from 100 us to 60 s. */
struct metric *metrics_histogram(const char *name, const char *help, const char *labels);
/* A gauge whose value is asked for when somebody reads. READ runs on the admin port's thread and registers nothing.
 * Given again with the same name and labels, READ and ARGUMENT take the place of the earlier ones; READ NULL takes them
 * away (once this returns, no call is in progress any more): so that what a gauge reads from can end before the process. */
void metrics_gauge_read(const char *name, const char *help, const char *labels,
                        double (*read)(void *argument), void *argument);

/* Any thread; relaxed atomics, no lock. */
void metric_add(struct metric *metric, int64_t amount);
void metric_set(struct metric *metric, int64_t value);
void metric_observe_us(struct metric *metric, int64_t duration_us);
int64_t metric_value(const struct metric *metric); /* a counter's or gauge's value; a histogram's count */

/* Appends every family in the Prometheus text format 0.0.4. */
void metrics_write(struct evbuffer *out);

#endif
