/*
 * command_run: `reel` in this process and in a directory of its own: what it printed, and its exit code.
 */
#ifndef REEL_TESTS_COMMAND_RUN_H
#define REEL_TESTS_COMMAND_RUN_H

#include <jansson.h>

#define COMMAND_OUTPUT_MAX 65536

/* Of the last run. */
extern char command_place[64]; /* the directory */
extern char command_out[COMMAND_OUTPUT_MAX], command_err[COMMAND_OUTPUT_MAX];

/* A directory for one test, which is the current one until its end, with no configuration of reel. */
void command_place_open(void);
void command_place_close(void);

/* The exit code of `reel` with the first ARGC of ARGV and then the words of TEXT, separated by "|". ARGV has room for 64. It reads the
 * file "input", if there is one, else nothing. */
int command_run(int argc, char **argv, const char *text);
/* What RUN_IT returns. Its output is kept; its standard error is too, unless it goes to the descriptor ERR (else -1). */
int command_catch(int (*run_it)(int argc, char **argv), int argc, char **argv, int err);
/* Standard error, standard output, has this in it. */
void said(const char *text);
void printed(const char *text);
/* The output, which the caller frees. */
json_t *output_json(void);

#endif
