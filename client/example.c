/*
 * example: libreel in a page. Uploads a text from memory, asks what is known about it, downloads it again,
 * deletes it. cc example.c $(pkg-config --cflags --libs reel) -o reel-example
 *   ./reel-example 127.0.0.1:21000 some-user
 */
#include <reel.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool print(void *argument, const void *bytes, size_t size)
{
    (void)argument;
    return fwrite(bytes, 1, size, stdout) == size;
}

int main(int argc, char **argv)
{
    static const char text[] = "Hello from libreel.\n";
    struct reel_options options = {0};
    struct reel_upload upload = {0};
    struct reel_download download = {0};
    struct reel_error error;
    struct reel_file file;
    char file_id[REEL_FILE_SIZE];
    struct reel *reel;
    int result = 1;

    if (argc != 3) {
        fprintf(stderr, "usage: %s TRACKERS USER\n", argv[0]);
        return 2;
    }
    options.trackers = argv[1];
    options.user = argv[2];
    reel = reel_open(&options, &error);
    if (!reel)
        goto done;

    upload.name = "hello.txt";
    if (!reel_upload_memory(reel, &upload, text, strlen(text), file_id, &error))
        goto done;
    printf("stored as %s\n", file_id);

    download.key.file = file_id;
    if (!reel_stat(reel, &download.key, &file, &error))
        goto done;
    printf("%" PRId64 " bytes, %s, in %s\n", file.size, file.content_type, file.group);

    download.verify = true;
    if (!reel_download_callback(reel, &download, print, NULL, &error) ||
        !reel_delete(reel, &download.key, &error))
        goto done;
    result = 0;
done:
    if (result != 0)
        fprintf(stderr, "%s: %s\n", reel_error_name(error.code), error.text);
    reel_close(reel);
    return result;
}
