/*
 * replay: main() for a fuzz target where libFuzzer is not there: runs the files, and the files in the
 * directories, that are its arguments, as a libFuzzer binary does with -runs=0. Arguments that begin with '-'
 * are ignored, so that one command line fits both.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INPUT_MAX ((size_t)1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int complain(const char *path)
{
    (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
    return -1;
}

/* How many inputs were run, -1 after a complaint. */
static int run_file(const char *path)
{
    int result = -1;
    uint8_t *input = NULL;
    uint8_t *data = NULL;
    size_t size = 0;
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return complain(path);
    data = malloc(INPUT_MAX);
    if (data == NULL)
        goto done;
    size = fread(data, 1, INPUT_MAX, file);
    if (ferror(file))
        goto done;
    /* Of just its size, so that a read behind its end is caught. */
    input = malloc(size > 0 ? size : 1);
    if (input == NULL)
        goto done;
    memcpy(input, data, size);
    (void)LLVMFuzzerTestOneInput(input, size); /* always 0 */
    result = 1;

done:
    if (result < 0)
        (void)complain(path);
    free(input);
    free(data);
    (void)fclose(file); /* was only read */
    return result;
}

static int run_directory(const char *path)
{
    int count = 0;
    DIR *directory = opendir(path);
    if (directory == NULL)
        return complain(path);
    for (struct dirent *entry; count >= 0 && (entry = readdir(directory)) != NULL;) {
        char name[4096];
        if (entry->d_name[0] == '.')
            continue;
        int length = snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        if (length < 0 || (size_t)length >= sizeof(name)) {
            errno = ENAMETOOLONG;
            count = complain(path);
            break;
        }
        int ran = run_file(name);
        count = ran < 0 ? -1 : count + ran;
    }
    (void)closedir(directory); /* was only read */
    return count;
}

int main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        struct stat status;
        if (argv[i][0] == '-')
            continue;
        if (stat(argv[i], &status) != 0) {
            (void)complain(argv[i]);
            return 1;
        }
        int ran = S_ISDIR(status.st_mode) ? run_directory(argv[i]) : run_file(argv[i]);
        if (ran < 0)
            return 1;
        total += ran;
    }
    (void)printf("%d inputs replayed\n", total);
    return total > 0 ? 0 : 1;
}
