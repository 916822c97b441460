/*
 * daemon: see daemon.h. Everything here runs on the main thread, and what blocks (file, user and name
 * look-ups) does so before the loops run or after they have ended; daemon_stopped() alone is called from
 * elsewhere.
 */
#include "common/daemon/daemon.h"

#include "common/base/duration.h"
#include "common/daemon/admin.h"
#include "common/base/clock.h"
#include "common/daemon/daemon_identity.h"
#include "common/daemon/daemon_logs.h"
#include "common/daemon/daemon_options.h"
#include "common/daemon/daemon_process.h"
#include "common/daemon/daemon_sandbox.h"
#include "common/daemon/daemon_tls.h"
#include "common/daemon/daemon_watch.h"
#include "common/daemon/end_guard.h"
#include "common/daemon/host_name.h"
#include "common/base/log.h"
#include "common/loop/kept_sockets.h"
#include "common/loop/workers.h"
#include "common/base/metrics.h"
#include "common/base/standard_files.h"
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define EXIT_USAGE 2

/* What stop_timeout leaves to the daemon for cutting what is still under way, before the loops end anyway. */
#define STOP_MARGIN_MS 2000
#define END_ROUNDS     2
/* How long a log that nobody reads may delay an immediate end. */
#define END_LOG_MS 500

struct run {
    struct daemon public;
    const struct daemon_spec *spec;

    struct daemon_options options;
    struct daemon_config *config; /* as started, but for what of the common options a reload changes */
    void *reloaded;               /* what the last reload took over; NULL before the first */
    bool log_is_open;

    /* life */
    struct pid_file pid_file;
    int ready_fd; /* to the parent of a daemonized process; -1 */
    struct loop_group loops;
    struct admin *admin;
    struct daemon_watch *watch;
    struct daemon_logs *logs;
    struct event *signals[4];
    struct event *stop_timer;
    int64_t start_ms;
    bool confined; /* by Landlock */
    bool started;  /* spec->start() returned true */
    bool stopping; /* the drain has begun */
    bool reload_refused;
    struct metric *reload_metric;
    atomic_bool stopped_posted;
    struct task stopped;
    struct task loops_end;
    int loops_end_rounds;
    struct end_guard guard;
};

/* Where somebody reads it: stderr while there is no log, and both where the log is a file that nobody may be
 * looking at yet. */
static void report(const struct run *run, const char *text)
{
    if (run->log_is_open)
        log_error("daemon", "%s", text);
    if (!run->log_is_open || !run->config || run->config->log_file[0] != '\0')
        (void)fprintf(stderr, "reel-%s: %s\n", run->spec->name, text);
}

/* ---- reload ---- */

struct comparison {
    struct run *run;
    bool reloadable; /* which options this pass is about */
};

static void tell_change(void *argument, const struct config_option *option, const char *old_value,
                        const char *new_value)
{
    const struct comparison *comparison = argument;

    if (option->reloadable != comparison->reloadable)
        return;
    if (!option->reloadable)
        log_warning("daemon", "option %s.%s changed; takes effect after a restart", option->section,
                    option->name);
    else if (strcmp(old_value, new_value) == 0)
        log_info("daemon", "option %s.%s: changed (the value is not shown)", option->section, option->name);
    else
        log_info("daemon", "option %s.%s: %s -> %s", option->section, option->name, old_value, new_value);
}

/* All of CONFIG, or nothing: what can be refused is read first, and used when nothing is left that could be. */
static bool apply_all(struct run *run, const struct daemon_config *config, struct error *error)
{
    struct daemon *daemon = &run->public;
    struct daemon_tls_fresh tls;
    struct auth_fresh *identity = NULL;

    if (daemon_tls_read(daemon, config, &tls, error) &&
        (identity = daemon_identity_read(daemon, config, error)) &&
        (!run->spec->reload || run->spec->reload(daemon, config, error))) {
        daemon_identity_use(daemon, config, identity);
        daemon_tls_use(daemon, config, &tls);
        return true;
    }
    auth_fresh_drop(identity);
    daemon_tls_drop(&tls);
    return false;
}

/* False where the file, or what is in it, was refused. */
static bool daemon_reload(struct run *run)
{
    struct comparison comparison = {.run = run};
    const struct daemon_config *common;
    struct error error;
    void *config = daemon_options_load_config(&run->options, &error);

    if (!config) {
        log_error("daemon", "%s; the configuration stays as it was", error.text);
        return false;
    }
    common = config;
    if (!apply_all(run, common, &error)) {
        log_error("daemon", "cannot apply the new configuration: %s", error.text);
        daemon_options_free_config(&run->options, config);
        return false;
    }
    /* What needs a restart is compared with what runs; the rest with what the last reload made of it. */
    config_compare(run->options.tables, run->config, config, tell_change, &comparison);
    comparison.reloadable = true;
    config_compare(run->options.tables, run->reloaded ? run->reloaded : (const void *)run->config, config,
                   tell_change, &comparison);
    log_set_level((enum log_level)common->log_level);
    run->config->stop_timeout_ms = common->stop_timeout_ms;
    daemon_options_free_config(&run->options, run->reloaded);
    run->reloaded = config;
    log_info("daemon", "configuration reloaded from %s", run->options.config_file);
    return true;
}

/* ---- signals and the end ---- */

static void on_hangup(struct run *run)
{
    if (!run->stopping)
        (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_monotonic_us());
    daemon_logs_reopen(run->logs);
    if (run->stopping)
        return;
    run->reload_refused = !daemon_reload(run);
    daemon_identity_audit(&run->public, "reload", !run->reload_refused, NULL);
    metric_set(run->reload_metric, run->reload_refused);
    (void)sd_notifyf(0, "READY=1\nSTATUS=%s",
                     run->reload_refused
                         ? "The last reload was refused; the earlier configuration remains in effect"
                         : "");
}

/* Without any clean-up but the pid file's: what was acknowledged is safe at every moment. */
static _Noreturn void end_at_once(struct run *run, const char *why)
{
    log_warning("daemon", "%s: exiting immediately", why);
    log_flush(END_LOG_MS);
    pid_file_remove(&run->pid_file);
    _exit(EXIT_SUCCESS);
}

static void guard_ends(void *argument, const char *why)
{
    end_at_once(argument, why);
}

static void on_stop_timeout(evutil_socket_t fd, short events, void *argument)
{
    struct run *run = argument;

    (void)fd;
    (void)events;
    log_warning("daemon", "requests in progress did not finish within %" PRId64 " ms; stopping without them",
                run->config->stop_timeout_ms);
    loop_stop(run->public.main_loop);
}

static void on_stopped(struct task *task)
{
    struct run *run = CONTAINER_OF(task, struct run, stopped);
    loop_stop(run->public.main_loop);
}

void daemon_stopped(struct daemon *daemon)
{
    struct run *run = CONTAINER_OF(daemon, struct run, public);

    if (!atomic_exchange(&run->stopped_posted, true))
        loop_post(daemon->main_loop, &run->stopped);
}

static void begin_stop(struct run *run, int signal_number)
{
    int64_t limit_ms = run->config->stop_timeout_ms + STOP_MARGIN_MS;
    const struct timeval limit = duration_timeval(limit_ms);

    run->stopping = true;
    log_info("daemon", "SIG%s: finishing requests in progress, for at most %" PRId64 " ms",
             sigabbrev_np(signal_number), run->config->stop_timeout_ms);
    (void)sd_notifyf(0, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRId64, (limit_ms + END_GUARD_LIMIT_MS) * 1000);
    if (event_add(run->stop_timer, &limit) != 0)
        log_error("daemon", "cannot arm the shutdown timer; stopping may take longer than stop_timeout");
    if (run->spec->stop)
        run->spec->stop(&run->public);
    else
        daemon_stopped(&run->public);
}

static void on_signal(evutil_socket_t signal_number, short events, void *argument)
{
    struct run *run = argument;

    (void)events;
    switch (signal_number) {
    case SIGHUP:
        on_hangup(run);
        break;
    case SIGUSR1:
        daemon_logs_reopen(run->logs);
        break;
    default:
        if (run->stopping)
            end_at_once(run, "a second signal to stop");
        begin_stop(run, signal_number);
    }
}

/* What logrotate sends to a daemon that has its log open and does not catch signals yet would end it: it comes once it does. */
static void hold_back_signals(int how)
{
    sigset_t signals;

    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGHUP);
    (void)sigaddset(&signals, SIGUSR1);
    (void)pthread_sigmask(how, &signals, NULL);
}

static bool catch_signals(struct run *run, struct error *error)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};
    struct event_base *base = loop_base(run->public.main_loop);

    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return error_set_errno(error, errno, "cannot ignore SIGPIPE");
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        run->signals[i] = evsignal_new(base, numbers[i], on_signal, run);
        if (!run->signals[i] || event_add(run->signals[i], NULL) != 0)
            return error_set(error, ERROR_UNAVAILABLE, "cannot catch the signal %s", strsignal(numbers[i]));
    }
    hold_back_signals(SIG_UNBLOCK);
    run->stop_timer = evtimer_new(base, on_stop_timeout, run);
    if (!run->stop_timer)
        return error_set(error, ERROR_UNAVAILABLE, "cannot create a timer: out of memory");
    return true;
}

static void free_events(struct run *run)
{
    for (size_t i = 0; i < ARRAY_SIZE(run->signals); i++) {
        if (run->signals[i])
            event_free(run->signals[i]);
    }
    if (run->stop_timer)
        event_free(run->stop_timer);
}

/* ---- admin port ---- */

static bool admin_health(void *argument, char *reason, size_t reason_size)
{
    struct run *run = argument;

    if (run->stopping) {
        (void)snprintf(reason, reason_size, "stopping");
        return false;
    }
    if (daemon_watch_stuck(run->watch) > 0) {
        (void)snprintf(reason, reason_size, "%zu of %zu loops do not answer", daemon_watch_stuck(run->watch),
                       run->loops.count);
        return false;
    }
    if (run->spec->health && !run->spec->health(&run->public, reason, reason_size))
        return false;
    daemon_tls_health(&run->public, reason, reason_size);
    return true;
}

static json_t *admin_status(void *argument)
{
    struct run *run = argument;
    json_t *status = !run->spec->status ? json_object() : run->spec->status(&run->public);
    json_t *own =
        json_pack("{s:s, s:s, s:s, s:I, s:s, s:I, s:I, s:b, s:b, s:b}", "name", run->spec->name, "version",
                  REEL_VERSION, "host", host_name(), "pid", (json_int_t)getpid(), "configuration",
                  run->options.config_file, "uptime_ms", (json_int_t)(clock_monotonic_ms() - run->start_ms),
                  "loops", (json_int_t)run->loops.count, "stopping", run->stopping, "reload_refused",
                  run->reload_refused, "confined", run->confined);

    /* The daemon's own members stand as it gave them. */
    if (!status || !own || json_object_get(status, "daemon"))
        json_decref(own);
    else if (json_object_set_new(status, "daemon", own) != 0)
        log_warning("daemon", "the status is incomplete: out of memory");
    return status;
}

static void admin_ask_status(void *argument, struct admin_question *question)
{
    struct run *run = argument;

    run->spec->ask_status(&run->public, question);
}

/* ---- life ---- */

static bool daemon_open_log(void *options, struct error *error)
{
    return log_open(options, error);
}

/* Log, pid file, limits: what the system must know before anything is built. */
static bool set_up_process(struct run *run, struct error *error)
{
    const struct daemon_config *config = run->config;
    const struct log_options log_options = {
        .program = run->spec->name, .file = config->log_file, .level = (enum log_level)config->log_level};
    struct error warning;

    if (run->options.daemonize && !process_daemonize(&run->ready_fd, error))
        return false;
    if (config->user[0] != '\0'
            ? !process_as_user(config->user, daemon_open_log, (void *)(uintptr_t)&log_options, error)
            : !log_open(&log_options, error))
        return false;
    run->log_is_open = true;
    if (!daemon_sandbox_enter(&run->options, config, &run->confined, error) || !log_start(error))
        return false;
    daemon_logs_take_libevent();
    if (config->pid_file[0] != '\0' && !pid_file_create(&run->pid_file, config->pid_file, error))
        return false;
    log_info("daemon", "reel-%s %s starts, process %ld, configuration %s", run->spec->name, REEL_VERSION,
             (long)getpid(), run->options.config_file);
    if (!process_set_open_files(config->open_files, &warning))
        log_warning("daemon", "%s", warning.text);
    return true;
}

static bool start_identity(void *argument, struct error *error)
{
    struct run *run = argument;

    return daemon_identity_start(&run->public, run->config, error);
}

static bool daemon_start(struct run *run, struct error *error)
{
    const struct daemon_config *config = run->config;
    const struct admin_handlers handlers = {.health = admin_health,
                                            .status = admin_status,
                                            .ask = run->spec->ask_status ? admin_ask_status : NULL,
                                            .argument = run};

    hold_back_signals(SIG_BLOCK);
    if (!set_up_process(run, error))
        return false;
    run->public.main_loop = loop_create("main", error);
    if (!run->public.main_loop || !(run->logs = daemon_logs_create(&run->public, error)) ||
        !catch_signals(run, error) || !loop_group_create(&run->loops, "loop", (size_t)config->loops, error))
        return false;
    /* What loop_at_end() is given first runs last: after everything that start() may leave there. */
    loop_at_end(run->loops.loops[run->loops.count - 1], &run->loops_end);
    /* With the rights that a reload will have. */
    if (config->user[0] != '\0' ? !process_as_user(config->user, start_identity, run, error)
                                : !start_identity(run, error))
        return false;
    run->started = run->spec->start(&run->public, error);
    if (!run->started)
        return false;
    if (config->admin_listen.count > 0) {
        run->admin = admin_create(loop_base(run->public.main_loop), &config->admin_listen,
                                  &config->admin_hosts, &handlers, error);
        if (!run->admin)
            return false;
    }
    /* Everything that may need root is bound now. */
    if (config->user[0] != '\0' && !process_drop_privileges(config->user, error))
        return false;
    process_hide_memory();
    if (!loop_group_start(&run->loops, error))
        return false;
    run->watch = daemon_watch_create(run->public.main_loop, &run->loops, error);
    return run->watch != NULL;
}

/* Runs inside loop_group_destroy(). */
static void on_loops_end(struct task *task)
{
    struct run *run = CONTAINER_OF(task, struct run, loops_end);
    struct loop *main_loop = run->public.main_loop;

    if (run->loops_end_rounds++ < END_ROUNDS) {
        /* First what the connections posted when they were ended. */
        loop_post(run->loops.loops[run->loops.count - 1], task);
        return;
    }
    loop_run(main_loop); /* it is stopped: only what was posted to it runs */
    if (run->started && run->spec->destroy)
        run->spec->destroy(&run->public);
}

/* Undoes start(), whole or in part. */
static void end(struct run *run)
{
    daemon_watch_stop(run->watch);
    admin_destroy(run->admin);
    if (run->started && run->spec->end_workers)
        run->spec->end_workers(&run->public);
    if (run->public.main_loop)
        loop_stop(run->public.main_loop);
    loop_group_destroy(&run->loops);
    daemon_tls_destroy(&run->public);
    daemon_watch_destroy(run->watch);
    free_events(run);
    daemon_logs_destroy(run->logs);
    loop_destroy(run->public.main_loop);
    if (run->started)
        daemon_identity_audit(&run->public, "stop", true, NULL);
    daemon_identity_destroy(&run->public);
}

static int live(struct run *run)
{
    struct error error;
    int exit_code = EXIT_FAILURE;

    run->start_ms = clock_monotonic_ms();
    kept_sockets_begin();
    run->reload_metric = metrics_gauge("reel_daemon_reload_refused",
                                       "1: the configuration file was refused at the last reload.", NULL);
    if (daemon_start(run, &error)) {
        kept_sockets_end();
        log_info("daemon", "ready: %zu loops", run->loops.count);
        (void)sd_notifyf(0, "READY=1\nMAINPID=%ld", (long)getpid());
        process_tell_ready(&run->ready_fd);
        loop_run(run->public.main_loop);
        exit_code = EXIT_SUCCESS;
    } else {
        report(run, error.text);
    }
    end_guard_start(&run->guard, guard_ends, run);
    end(run);
    end_guard_stop(&run->guard);
    if (exit_code == EXIT_SUCCESS)
        log_info("daemon", "ended");
    pid_file_remove(&run->pid_file);
    return exit_code;
}

static bool act_init_db(void *argument, struct error *error)
{
    const struct run *run = argument;
    return run->spec->init_db(run->config, error);
}

static bool act_backup(void *argument, struct error *error)
{
    const struct run *run = argument;
    return run->spec->backup(run->config, run->options.backup_file, error);
}

static bool act_checkpoint(void *argument, struct error *error)
{
    const struct run *run = argument;
    return run->spec->checkpoint(run->config, error);
}

/* --init-db, --backup or --checkpoint, whose lines go to the terminal. What root has them make belongs to daemon.user, where
 * one is configured: the daemon must be able to write it. */
static int daemon_act(struct run *run, const char *option, bool (*act)(void *argument, struct error *error),
                      bool there)
{
    const struct log_options log_options = {.program = run->spec->name,
                                            .level = (enum log_level)run->config->log_level};
    const char *user = geteuid() == 0 ? run->config->user : "";
    struct error error;
    char text[64];

    if (!there) {
        (void)snprintf(text, sizeof(text), "%s: this daemon has no database", option);
        report(run, text);
        return EXIT_USAGE;
    }
    if (log_open(&log_options, &error) &&
        (user[0] != '\0' ? process_as_user(user, act, run, &error) : act(run, &error)))
        return EXIT_SUCCESS;
    report(run, error.text);
    return EXIT_FAILURE;
}

static int run_mode(struct run *run)
{
    switch (run->options.mode) {
    case DAEMON_CHECK_CONFIG:
        if (run->spec->advise)
            run->spec->advise(run->config, stderr);
        (void)printf("%s: OK\n", run->options.config_file);
        return EXIT_SUCCESS;
    case DAEMON_PRINT_CONFIG:
        config_print(run->options.tables, run->config, stdout);
        return EXIT_SUCCESS;
    case DAEMON_INIT_DB:
        return daemon_act(run, "--init-db", act_init_db, run->spec->init_db != NULL);
    case DAEMON_BACKUP:
        return daemon_act(run, "--backup", act_backup, run->spec->backup != NULL);
    case DAEMON_CHECKPOINT:
        if (!run->spec->checkpoint) {
            report(run, "--checkpoint: this daemon has no upload journal");
            return EXIT_USAGE;
        }
        return daemon_act(run, "--checkpoint", act_checkpoint, true);
    default:
        if (run->options.daemonize && run->config->log_file[0] == '\0') {
            report(run, "-d needs a log file ([log] file): nobody would see the log");
            return EXIT_USAGE;
        }
        return live(run);
    }
}

int daemon_run(const struct daemon_spec *spec, int argc, char **argv)
{
    struct run run = {
        .spec = spec, .ready_fd = -1, .stopped = {.run = on_stopped}, .loops_end = {.run = on_loops_end}};
    struct error error;
    int exit_code = EXIT_USAGE;

    standard_files_open();
    run.public.spec = spec;
    run.public.loops = &run.loops;
    if (!daemon_options_parse(&run.options, spec, argc, argv, &error)) {
        report(&run, error.text);
        goto done;
    }
    if (run.options.mode >= DAEMON_HELP) {
        daemon_options_print(&run.options, stdout);
        exit_code = EXIT_SUCCESS;
        goto flush;
    }
    run.config = daemon_options_load_config(&run.options, &error);
    if (!run.config) {
        report(&run, error.text);
        goto done;
    }
    run.public.config = run.config;
    exit_code = run_mode(&run);
flush:
    if (fflush(stdout) != 0 && exit_code == EXIT_SUCCESS)
        exit_code = EXIT_FAILURE;
done:
    if (workers_are_left()) {
        if (run.log_is_open)
            log_close();
        _exit(exit_code);
    }
    daemon_options_free_config(&run.options, run.reloaded);
    daemon_options_free_config(&run.options, run.config);
    daemon_options_clear(&run.options);
    if (run.log_is_open)
        log_close();
    return exit_code;
}
