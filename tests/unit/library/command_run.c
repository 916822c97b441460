/* command_run: standard output and error are temporary files while the command runs. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/library/command_run.h"

#include "client/command/command_internal.h"
#include "tests/unit/library/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char command_out[COMMAND_OUTPUT_MAX], command_err[COMMAND_OUTPUT_MAX];
char command_place[64];
static char before[4096];

void command_place_open(void)
{
    command_out[0] = command_err[0] = '\0';
    setenv("REEL_CONFIG", "/dev/null", 1);
    strcpy(command_place, "/tmp/test_command.XXXXXX");
    assert_non_null(mkdtemp(command_place));
    assert_non_null(getcwd(before, sizeof(before)));
    assert_int_equal(chdir(command_place), 0);
}

void command_place_close(void)
{
    assert_int_equal(chdir(before), 0);
    remove_tree(command_place);
}

static void read_back(FILE *file, char *text)
{
    rewind(file);
    text[fread(text, 1, COMMAND_OUTPUT_MAX - 1, file)] = '\0';
    fclose(file);
}

int command_catch(int (*run_it)(int argc, char **argv), int argc, char **argv, int err)
{
    int result, saved_out = dup(STDOUT_FILENO), saved_err = dup(STDERR_FILENO);
    FILE *to = tmpfile(), *bad = tmpfile();

    assert_true(to && bad);
    fflush(stdout);
    dup2(fileno(to), STDOUT_FILENO);
    dup2(err >= 0 ? err : fileno(bad), STDERR_FILENO);
    result = run_it(argc, argv);
    fflush(stdout);
    fflush(stderr);
    dup2(saved_out, STDOUT_FILENO);
    dup2(saved_err, STDERR_FILENO);
    close(saved_out);
    close(saved_err);
    read_back(to, command_out);
    read_back(bad, command_err);
    return result;
}

int command_run(int argc, char **argv, const char *text)
{
    char words[8192], *rest = NULL;

    snprintf(words, sizeof(words), "%s", text);
    for (char *word = strtok_r(words, "|", &rest); word; word = strtok_r(NULL, "|", &rest)) {
        assert_in_range(argc, 1, 62);
        argv[argc++] = word;
    }
    argv[argc] = NULL;
    assert_non_null(freopen(access("input", F_OK) == 0 ? "input" : "/dev/null", "r", stdin));
    return command_catch(command_main, argc, argv, -1);
}

void said(const char *text)
{
    if (!strstr(command_err, text))
        fail_msg("\"%s\" is not in: %s", text, command_err);
}

void printed(const char *text)
{
    if (!strstr(command_out, text))
        fail_msg("\"%s\" is not in: %s", text, command_out);
}

json_t *output_json(void)
{
    json_t *json = json_loads(command_out, 0, NULL);

    if (!json)
        fail_msg("no JSON: %s", command_out);
    return json;
}
