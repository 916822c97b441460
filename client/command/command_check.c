/*
 * command_check: threads in batches, and findings as JSON from the beginning, since both ways of printing can be made of that.
 */
#include "client/command/command_check.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define BATCH 64 /* threads at once */

static const struct {
    const char *word;
    enum command_colour colour;
} severities[] = {
    [WELL] = {"ok", COMMAND_GREEN},
    [NOTE] = {"note", COMMAND_PLAIN},
    [WARNING] = {"WARNING", COMMAND_YELLOW},
    [CRITICAL] = {"CRITICAL", COMMAND_RED},
};

const char *severity_word(enum severity severity)
{
    return severities[severity].word;
}

void check_finding(struct check *check, enum severity severity, const char *part, const char *remedy,
                   const char *format, ...)
{
    char text[1024];
    va_list list;

    va_start(list, format);
    (void)vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    (void)json_array_append_new(check->findings,
                                json_pack("{s:s,s:o,s:o,s:o}", "severity", severities[severity].word, "part",
                                          command_json_text(part), "text", command_json_text(text), "remedy",
                                          remedy ? command_json_text(remedy) : json_null()));
}

static enum severity severity_of(const json_t *finding)
{
    const char *word = json_string_value(json_object_get(finding, "severity"));
    enum severity severity = WELL;

    while (severity < CRITICAL && word && strcmp(word, severities[severity].word) != 0)
        severity++;
    return severity;
}

static void *check_thread(void *argument)
{
    struct check *check = argument;

    check->run(check);
    return NULL;
}

static void run_batch(struct check *checks, size_t count)
{
    pthread_t threads[BATCH];
    bool started[BATCH];

    for (size_t i = 0; i < count; i++) {
        checks[i].findings = json_array();
        started[i] = pthread_create(&threads[i], NULL, check_thread, &checks[i]) == 0;
    }
    for (size_t i = 0; i < count; i++) {
        if (started[i])
            (void)pthread_join(threads[i], NULL);
        else
            checks[i].run(&checks[i]); /* one by one then */
    }
}

enum severity checks_run(struct check *checks, size_t count, json_t *findings)
{
    enum severity worst = WELL;
    json_t *finding;
    size_t j;

    for (size_t at = 0; at < count; at += BATCH)
        run_batch(checks + at, count - at < BATCH ? count - at : BATCH);
    for (size_t i = 0; i < count; i++) {
        json_array_foreach(checks[i].findings, j, finding)
        {
            if (severity_of(finding) > worst)
                worst = severity_of(finding);
        }
        (void)json_array_extend(findings, checks[i].findings);
        json_decref(checks[i].findings);
        checks[i].findings = NULL;
    }
    return worst;
}

void checks_print(struct command *command, const json_t *findings)
{
    char part[300], text[1024];
    json_t *finding;
    size_t i;

    json_array_foreach(findings, i, finding)
    {
        const char *name = json_string_value(json_object_get(finding, "part"));
        const char *said = json_string_value(json_object_get(finding, "text"));
        const char *remedy = json_string_value(json_object_get(finding, "remedy"));
        enum severity severity = severity_of(finding);

        (void)command_print(command, "%s%-8s%s  %-34s  %s\n",
                            command_colour(stdout, severities[severity].colour), severities[severity].word,
                            command_colour(stdout, COMMAND_PLAIN),
                            command_printable(name ? name : "?", part, sizeof(part)),
                            command_printable(said ? said : "?", text, sizeof(text)));
        if (remedy)
            (void)command_print(command, "          -> %s\n", command_printable(remedy, text, sizeof(text)));
    }
}
