/*
 * The `reel` command in this process, against a scripted cluster: what it prints, where, and with which exit code.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "client/command/command_internal.h"
#include "tests/unit/library/command_run.h"
#include "tests/unit/library/files.h"
#include "tests/unit/library/scripted_cluster.h"

#include <fcntl.h>
#include <pty.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct world {
    struct fake_cluster cluster;
};

static struct world world;

/* Runs `reel` with the words of TEXT (separated by "|") behind -t and -u. */
static int run_words(const char *text, bool with_user)
{
    char *argv[64] = {"reel", "-t", world.cluster.tracker.peer.address, "-u", "user1"};

    return command_run(with_user ? 5 : 1, argv, text);
}

static int run(const char *format, ...) PRINTF_LIKE(1, 2);
static int run(const char *format, ...)
{
    char text[8192];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    return run_words(text, true);
}

static int set_up(void **state)
{
    (void)state;
    memset(&world, 0, sizeof(world));
    fake_cluster_start(&world.cluster, 2);
    command_place_open();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fake_cluster_stop(&world.cluster);
    command_place_close();
    return 0;
}

/* Stores TEXT under ID with NAME, whatever the command thinks of such a name. */
static void store(const char *id, const char *name, const char *text)
{
    struct fake_group *group = &world.cluster.group;
    struct fake_file *file = &group->files[group->count++];

    memset(file, 0, sizeof(*file));
    snprintf(file->application, sizeof(file->application), "tnvideo");
    snprintf(file->user, sizeof(file->user), "user1");
    snprintf(file->id, sizeof(file->id), "%s", id);
    snprintf(file->name, sizeof(file->name), "%s", name);
    file->size = strlen(text);
    file->bytes = malloc(file->size + 1);
    assert_non_null(file->bytes);
    memcpy(file->bytes, text, file->size);
}

/* ---- options ---- */

static void options_are_written_out_and_stand_anywhere(void **state)
{
    (void)state;
    store("f", "clip", "0123456789");
    assert_int_equal(run("size|f|--json"), 0);
    printed("{\"file\":\"f\",\"size\":10}");
    assert_int_equal(run("size|--js|f"), 2);
    said("there is no option --js; did you mean --json?");
    assert_int_equal(run("download|--progress|F|f"), 2);
    said("there is no option --progress");
    assert_int_equal(run("size|--|--json"), 3);
    assert_int_equal(run("size|--json=1|f"), 2);
    said("takes no value");
    assert_int_equal(run("size|f|--tries"), 2);
    said("--tries needs a value");
    assert_int_equal(run("size|f|--tries=0"), 2);
    assert_int_equal(run("size|-x|f"), 2);
    assert_int_equal(run("size|--deleted|f"), 2);
    said("size takes no --deleted");
    assert_int_equal(run("list|--limit|0"), 2);
    assert_int_equal(run("size|--max-time|soon|f"), 2);
    assert_int_equal(run("-qv|size|f"), 0);
}

static void usage_errors_are_json_where_that_is_asked_for(void **state)
{
    (void)state;
    assert_int_equal(run("--nonsense|--json"), 2);
    printed("\"name\":\"usage\"");
    printed("--nonsense");
    assert_int_equal(run("--json|nonsense"), 2);
    printed("there is no command");
    assert_int_equal(run("nonsense"), 2);
    assert_string_equal(command_out, "");
    assert_int_equal(run_words("--json", false), 2);
    assert_int_equal(run_words("size|f|-u|x", false), 2);
    said("no trackers are given");
    assert_int_equal(run_words("size|f|-t|http://media1:80|-u|x", false), 2);
    said("without \"http://\"");
    assert_int_equal(run_words("size|f|-t|media1", false), 2);
    said("no user ID");
    assert_int_equal(run("size"), 2);
    /* Names that nobody is asked about. */
    static const char *const names[] = {"size|", "rename|f|", "admin|group|add|", "admin|quota|", "delete|"};
    char name[300] = {0};
    memset(name, 'n', sizeof(name) - 1);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        assert_int_equal(run("%s%s", names[i], name), 2);
    assert_int_equal(run_words("list|-a|x/y|-u|user1|-t|127.0.0.1:1", false), 2);
    said("letters or digits");
    world.cluster.tracker.http = true; /* what makes no sense was no fault of the caller's */
    assert_int_equal(run("status"), 1);
    world.cluster.tracker.http = false;
    assert_int_equal(run("url|f"), 2);
    assert_int_equal(run("admin|group"), 2);
}

static void each_command_has_its_help(void **state)
{
    size_t count;
    const struct command_verb *verbs = command_verbs(&count);

    (void)state;
    assert_int_equal(run_words("--help", false), 0);
    printed("--trackers");
    for (size_t i = 0; i < count; i++)
        printed(verbs[i].help);
    for (size_t i = 0; i < count; i++) {
        char words[64];

        snprintf(words, sizeof(words), "%s|--help", verbs[i].name);
        assert_int_equal(run_words(words, false), 0);
        printed(verbs[i].help);
    }
    assert_int_equal(run_words("list|--help", false), 0);
    printed("--sort KEY");
    assert_null(strstr(command_out, "--recursive"));
    assert_int_equal(run_words("--version", false), 0);
    printed(reel_version());
}

static void a_setting_comes_from_option_environment_or_file(void **state)
{
    char text[256];

    (void)state;
    store("f", "clip", "0123456789");
    snprintf(text, sizeof(text), "[client]\ntrackers = %s\nuser = nobody\n",
             world.cluster.tracker.peer.address);
    write_text("reel.conf", text);
    assert_int_equal(run_words("size|f|--config|reel.conf", false), 3);
    setenv("REEL_USER", "user1", 1);
    assert_int_equal(run_words("size|f|--config|reel.conf", false), 0);
    assert_int_equal(run_words("size|f|--config|reel.conf|-unobody", false), 3);
    unsetenv("REEL_USER");
    write_text("reel.conf", "[client]\ntrackres = x\n");
    assert_int_equal(run_words("size|f|--config|reel.conf", false), 2);
    said("trackres");
}

static void a_day_that_is_none_is_no_date(void **state)
{
    int64_t seconds;

    (void)state;
    assert_true(command_parse_time("2028-02-29", 0, &seconds));
    assert_false(command_parse_time("2026-02-29", 0, &seconds));
    assert_false(command_parse_time("2026-04-31T12:00:00Z", 0, &seconds));
}

static void times_are_durations_and_dates(void **state)
{
    int64_t value;

    (void)state;
    assert_true(command_parse_duration("90", &value) && value == 90000);
    assert_true(command_parse_duration("250ms", &value) && value == 250);
    assert_true(command_parse_duration("2d", &value) && value == 172800000);
    assert_false(command_parse_duration("0s", &value));
    assert_false(command_parse_duration("5 minutes", &value));
    assert_false(command_parse_duration("9223372036854775807d", &value));
    assert_true(command_parse_time("1970-01-02", 0, &value) && value == 86400);
    assert_true(command_parse_time("1970-01-01T01:00:00Z", 0, &value) && value == 3600);
    assert_true(command_parse_time("1h", 10000, &value) && value == 6400);
    assert_false(command_parse_time("yesterday", 0, &value));
}

/* ---- upload ---- */

static void an_upload_prints_its_id_and_of_several_their_paths(void **state)
{
    char first[64];

    (void)state;
    write_text("a", "one");
    write_text("b", "two");
    assert_int_equal(run("upload|a"), 0);
    assert_int_equal(strlen(command_out), 37);
    assert_int_equal(run("upload|a|absent|b"), 10);
    said("absent: No such file");
    assert_non_null(strstr(command_out, "\ta\n"));
    assert_non_null(strstr(command_out, "\tb\n"));
    snprintf(first, sizeof(first), "%.36s", command_out);
    assert_int_equal(run("size|%s", first), 0);
    assert_string_equal(command_out, "3\n");
    assert_int_equal(run("upload|--json|a"), 0);
    printed("\"path\":\"a\"");
    assert_int_equal(run("upload|--name|x|a|b"), 2);
    assert_int_equal(run("upload|--file-id|mine|a"), 0);
    assert_string_equal(command_out, "mine\n");
    assert_int_equal(run("upload|--file-id|mine|b"), 4);
    assert_int_equal(run("upload|--dry-run|a"), 0);
    printed("would upload a");
}

static void a_package_is_stored_from_its_segments_to_its_master_playlist(void **state)
{
    (void)state;
    assert_int_equal(mkdir("package", 0700), 0);
    write_text("package/s1.ts", "one");
    write_text("package/s2.ts", "two");
    write_text("package/notes", "of no use");
    write_text("package/v.m3u8", "#EXTM3U\n#EXTINF:4,\ns1.ts\n#EXTINF:4,\ns2.ts\n#EXT-X-ENDLIST\n");
    write_text("package/m.m3u8", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv.m3u8\n");
    assert_int_equal(run("upload|--package|package|-n"), 0);
    printed("would upload package (2 segments and other parts, 2 playlists, 247 B)");
    assert_int_equal(run("size|pack-s1.ts"), 3);
    assert_int_equal(run("upload|--package|package|--file-id|pack|-j|2"), 0);
    assert_string_equal(command_out, "/files/tnvideo/user1/pack/m.m3u8\n");
    said("notes: no playlist names it: left out");
    assert_int_equal(run("download|pack-v.m3u8|-o|-"), 0);
    printed("../pack-s2.ts/s2.ts\n");
    assert_int_equal(run("upload|--package|package|--http|http://tv:8080/|--json"), 0);
    printed("\"url\":\"http://tv:8080/files/tnvideo/user1/");
    /* A segment whose file ID is taken by other bytes: the master playlist is not stored. */
    assert_int_equal(run("upload|--file-id|taken-s2.ts|package/s1.ts"), 0);
    assert_int_equal(run("upload|--package|package/m.m3u8|--file-id|taken"), 4);
    said("with --file-id taken the same command stores what is missing");
    assert_int_equal(run("size|taken"), 3);
    assert_int_equal(run("upload|--package|package/v.m3u8|package|--json"), 0);
    assert_int_equal(run("upload|--package|absent"), 10);
    assert_int_equal(run("upload|--package|package|--name|x"), 2);
    assert_int_equal(run("upload|--package|package|package|--file-id|x"), 2);
    assert_int_equal(run("upload|--package|package|--expires|soon"), 2);
}

static void a_directory_is_uploaded_where_that_is_asked_for(void **state)
{
    (void)state;
    assert_int_equal(mkdir("films", 0700), 0);
    assert_int_equal(mkdir("films/old", 0700), 0);
    write_text("films/a", "one");
    write_text("films/old/b", "two");
    assert_int_equal(symlink("/etc/passwd", "films/link"), 0);
    assert_int_equal(run("upload|films"), 10);
    said("-r uploads what is in it");
    assert_int_equal(run("upload|-r|films|--parallel|4"), 0);
    printed("\tfilms/a\n");
    printed("\tfilms/old/b\n");
    assert_null(strstr(command_out, "link"));
    said("symbolic link");
    assert_int_equal(world.cluster.group.count, 2);
    /* One that is named is meant; what is no file is left out, and not in silence. */
    assert_int_equal(symlink("films", "named"), 0);
    assert_int_equal(symlink("..", "films/old/loop"), 0);
    assert_int_equal(mkfifo("films/pipe", 0600), 0);
    assert_int_equal(run("upload|-r|named"), 0);
    printed("\tnamed/a\n");
    printed("\tnamed/old/b\n");
    said("named/pipe: no regular file: left out");
    said("named/old/loop: a symbolic link: left out");
    assert_int_equal(world.cluster.group.count, 4);
}

static void a_dry_run_is_json_where_that_is_asked_for(void **state)
{
    (void)state;
    store("f", "clip", "0123456789");
    write_text("film", "0123");
    assert_int_equal(run("upload|-|film|-"), 2);
    said("standard input (-) can be read once only");
    write_text("input", "film\n");
    assert_int_equal(run("upload|-|--files-from|-"), 2);
    assert_int_equal(world.cluster.group.count, 1);
    assert_int_equal(run("upload|-n|--json|film|-"), 0);
    printed("{\"would\":\"upload\",\"path\":\"film\",\"size\":4}\n");
    printed("{\"would\":\"upload\",\"path\":\"-\",\"size\":null}\n");
    assert_int_equal(run("download|-n|--json|f"), 0);
    assert_string_equal(command_out, "{\"would\":\"download\",\"file\":\"f\",\"path\":\"clip\"}\n");
    assert_int_equal(run("delete|-n|--json|f"), 0);
    assert_string_equal(command_out, "{\"would\":\"delete\",\"file\":\"f\",\"name\":\"clip\"}\n");
    assert_int_equal(run("cp|-n|--json|f|--to|bob"), 0);
    assert_string_equal(command_out, "{\"would\":\"copy\",\"file\":\"f\",\"user\":\"bob\"}\n");
    store("\xff", "", "0123"); /* no UTF-8, as JSON wants it */
    assert_int_equal(run("size|--json|\xff"), 0);
    assert_string_equal(command_out, "{\"file\":\"?\",\"size\":4}\n");
}

/* The command with a standard output that takes nothing. */
static int without_output(int argc, char **argv)
{
    int saved = dup(STDOUT_FILENO), full = open("/dev/full", O_WRONLY | O_CLOEXEC), result;

    assert_true(full >= 0);
    dup2(full, STDOUT_FILENO);
    result = command_main(argc, argv);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(full);
    return result;
}

static void an_id_that_cannot_be_printed_is_not_lost(void **state)
{
    char *upload[] = {
        "reel",    "-t", world.cluster.tracker.peer.address, "-u", "user1", "upload", "-q", "film", "-a",
        "tnvideo", NULL};
    char *list[] = {"reel", "-t", world.cluster.tracker.peer.address, "-u", "user1", "list", NULL};
    char text[256];

    (void)state;
    write_text("film", "0123");
    assert_int_equal(command_catch(without_output, 10, upload, -1), 8);
    assert_int_equal(world.cluster.group.count, 1);
    snprintf(text, sizeof(text), "reel: film: stored, under the file ID %s\n",
             world.cluster.group.files[0].id);
    said(text);
    said("writing the output: No space left on device");
    assert_int_equal(command_catch(without_output, 6, list, -1), 8);
    said("writing the output: No space left on device");
    assert_int_equal(command_catch(command_main, 6, list, -1), 0);
}

static void lists_of_files_come_from_a_file(void **state)
{
    (void)state;
    write_text("a", "one");
    write_text("b", "two");
    write_text("paths", "a\n\nb\n");
    assert_int_equal(run("upload|--files-from|paths|--parallel|2"), 0);
    write_text("ids", command_out); /* ID, tab, path: as upload prints them */
    assert_int_equal(run("delete|--files-from|ids"), 0);
    assert_true(world.cluster.group.files[0].deleted && world.cluster.group.files[1].deleted);
    assert_int_equal(run("delete|--files-from|ids"), 7);
    assert_int_equal(run("delete|--files-from|absent"), 10);
    assert_int_equal(run("restore|--files-from|ids|--dry-run"), 0);
    printed("would restore");
    assert_int_equal(run("restore|--files-from|ids"), 0);
    assert_false(world.cluster.group.files[0].deleted || world.cluster.group.files[1].deleted);
    assert_int_equal(run("delete|--dry-run|--files-from|ids"), 0);
    assert_false(world.cluster.group.files[0].deleted);
}

static void a_list_may_end_its_lines_as_other_programs_do(void **state)
{
    (void)state;
    store("one", "", "1");
    store("two", "", "22");
    store("three", "", "333");
    write_text("ids",
               "\xef\xbb\xbfone\r\ntwo\tfilm\r\n\r\nthree"); /* a mark of the order of bytes, CR LF, no end */
    assert_int_equal(run("size|--files-from|ids"), 0);
    assert_string_equal(command_out, "1\n2\n3\n");
    int fd = open("ids", O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_int_equal(write(fd, "one\0two\0\0three", 14), 14); /* as find -print0 has it */
    close(fd);
    assert_int_equal(run("size|--files-from|ids"), 0);
    assert_string_equal(command_out, "1\n2\n3\n");
    write_text("new\nline", "x");
    fd = open("paths", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "new\nline", 9), 9);
    close(fd);
    assert_int_equal(run("upload|--name|fine|--files-from|paths"), 0);
    printed("\tnew?line\n");
    assert_int_equal(mkdir("directory", 0700), 0);
    assert_int_equal(run("delete|--files-from|directory"), 10);
    said("directory: Is a directory");
    write_text("none", "\n\r\n");
    assert_int_equal(run("delete|--files-from|none"), 0);
    assert_int_equal(world.cluster.group.count, 4);
}

static void a_refused_name_gets_an_answer_that_helps(void **state)
{
    (void)state;
    write_text("bad\nname", "x");
    assert_int_equal(run("upload|bad\nname"), 2);
    said("--name");
    assert_int_equal(run("upload|bad\nname|--name|good"), 0);
}

/* ---- download ---- */

static void a_download_goes_where_the_arguments_say(void **state)
{
    (void)state;
    store("f", "clip.mp4", "content");
    store("g", "other.mp4", "more");
    assert_int_equal(run("download|f|./copy"), 0);
    assert_string_equal(read_text("copy"), "content");
    assert_int_equal(run("download|f|-o|out"), 0);
    assert_string_equal(read_text("out"), "content");
    assert_int_equal(run("download|f|-o|-"), 0);
    assert_string_equal(command_out, "content");
    assert_int_equal(run("download|f|-|--offset|3|--size|2"), 0);
    assert_string_equal(command_out, "te");
    assert_int_equal(run("download|f|name-that-is-no-id"), 0);
    assert_string_equal(read_text("name-that-is-no-id"), "content");
    assert_int_equal(mkdir("films", 0700), 0);
    assert_int_equal(run("download|f|g|--into|films|--parallel|2"), 0);
    assert_string_equal(read_text("films/clip.mp4"), "content");
    assert_string_equal(read_text("films/other.mp4"), "more");
    assert_int_equal(run("download|f|--into|absent"), 2);
    assert_int_equal(run("download|f|g|-o|x"), 2);
    assert_int_equal(run("download|f|--offset|1|-o|x"), 2);
    assert_int_equal(run("download|f|-o|x|--into|films"), 2);
    assert_int_equal(run("download|f|--dry-run|-o|never"), 0);
    assert_int_equal(access("never", F_OK), -1);
    assert_int_equal(run("download|missing|-o|x"), 3);
}

static void two_ids_are_two_files_not_a_file_and_its_name(void **state)
{
    (void)state;
    store("f", "clip.mp4", "content");
    store("g", "other.mp4", "more");
    assert_int_equal(run("download|f|g"), 0);
    assert_string_equal(read_text("clip.mp4"), "content");
    assert_string_equal(read_text("other.mp4"), "more");
    assert_int_equal(access("g", F_OK), -1);
    /* Also where the second is not there, when it has the form of an ID. */
    assert_int_equal(run("download|g|5f9e3fa7085e5aa25387c8cf7b5f29000117|-q"), 4);
    assert_int_equal(access("5f9e3fa7085e5aa25387c8cf7b5f29000117", F_OK), -1);
}

static void a_stored_name_is_made_harmless_and_replaces_nothing(void **state)
{
    static const struct {
        const char *stored, *here;
    } names[] = {{".bashrc", "_bashrc"},
                 {"-rf", "_rf"},
                 {"  x", "__x"},
                 {".. -y", "____y"},
                 {"", "id"},
                 {"a\xe2\x80\xae"
                  "4pm.exe",
                  "a___4pm.exe"},
                 {"..", "id"},
                 {"\xc3\xa4.mp4", "\xc3\xa4.mp4"},
                 {"what?", "what?"}};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        world.cluster.group.count = 0;
        store("id", names[i].stored, "content");
        assert_int_equal(run("download|id"), 0);
        assert_string_equal(read_text(names[i].here), "content");
        assert_int_equal(run("download|id"), 4);
        said("exists");
        assert_int_equal(unlink(names[i].here), 0);
        if (i + 1 < ARRAY_SIZE(names))
            free(world.cluster.group.files[0].bytes);
    }
}

static void a_stored_name_is_never_resumed_into(void **state)
{
    (void)state;
    store("f", "profile", "content and a line of the uploader");
    write_text("profile", "content");
    assert_int_equal(run("download|-c|f"), 2);
    said("--output PATH");
    assert_int_equal(run("download|-c|f|."), 2);
    assert_string_equal(read_text("profile"), "content");
}

/* ---- queries ---- */

static void what_is_deleted_twice_says_so(void **state)
{
    (void)state;
    store("f", "clip.mp4", "content");
    assert_int_equal(run("delete|f|--json"), 0);
    printed("\"deleted\":true");
    assert_int_equal(run("delete|f"), 7);
    assert_int_equal(run("stat|f"), 0);
    printed("deleted");
    assert_int_equal(run("size|f"), 7);
    assert_int_equal(run("restore|f"), 0);
    assert_int_equal(run("stat|f|--json"), 0);
    printed("\"name\":\"clip.mp4\"");
    assert_int_equal(run("size|missing|f"), 3);
    printed("7\n");
    assert_int_equal(run("size|missing|--json"), 3);
    printed("\"name\":\"not-found\"");
}

static void a_file_gets_another_name(void **state)
{
    char long_name[300];

    (void)state;
    store("f", "clip.mp4", "content");
    assert_int_equal(run("rename|f|film.mp4"), 0);
    assert_string_equal(command_out, "");
    assert_int_equal(run("rename|f|film 2.mp4|--json"), 0);
    printed("{\"file\":\"f\",\"name\":\"film 2.mp4\"}");
    assert_int_equal(run("list"), 0);
    printed("film 2.mp4");
    assert_int_equal(run("rename|missing|film.mp4"), 3);
    assert_int_equal(run("rename|f|a/b"), 2);
    memset(long_name, 'n', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    assert_int_equal(run("rename|f|%s", long_name), 2);
    said("at most 255");
    assert_int_equal(run("delete|f"), 0);
    assert_int_equal(run("rename|f|film.mp4"), 7);
    assert_int_equal(run("rename|f"), 2);
    for (int i = 0; i < world.cluster.count; i++)
        atomic_store(&world.cluster.storages[i].legacy, true);
    assert_int_equal(run("rename|f|film.mp4"), 1); /* servers that cannot */
}

static void copies_have_the_same_bytes(void **state)
{
    char copy[REEL_FILE_SIZE];

    (void)state;
    store("a", "clip.mp4", "content of a");
    store("b", "other.mp4", "b");
    assert_int_equal(run("cp|a|--to|user2"), 0);
    assert_int_equal(sscanf(command_out, "%127s", copy), 1);
    assert_int_equal(run("stat|%s|-u|user2|--json", copy), 0);
    printed("\"name\":\"clip.mp4\"");
    printed("\"size\":12");
    assert_int_equal(run("stat|%s", copy), 3); /* the copy is the other user's alone */
    assert_int_equal(run("download|%s|-o|-|-u|user2", copy), 0);
    assert_string_equal(command_out, "content of a");
    assert_int_equal(run("cp|a|b|missing|--to|user2"), 3);
    printed("\ta\n");
    printed("\tb\n");
    assert_int_equal(run("cp|a|--to|user2|--name|new.mp4|--file-id|mine|--json"), 0);
    printed("\"file\":\"mine\",\"of\":\"a\",\"user\":\"user2\"");
    assert_int_equal(run("list|-u|user2"), 0);
    printed("new.mp4");
    assert_int_equal(run("cp|b|--to|user2|--file-id|mine"), 4); /* taken by other bytes */
    assert_int_equal(run("cp|a|--to|user2|--dry-run"), 0);
    printed("would copy a clip.mp4 to user user2");
    assert_int_equal(run("cp|a|b|--to|user2|--name|x"), 2);
    assert_int_equal(run("cp|a"), 2);
    assert_int_equal(run("cp|a|--to|user1|--file-id|a"), 2);
    assert_int_equal(run("delete|a"), 0);
    assert_int_equal(run("cp|a|--to|user2"), 7);
    setenv("TMPDIR", "/nowhere", 1);
    assert_int_equal(run("cp|b|--to|user2"), 10);
    said("/nowhere");
    unsetenv("TMPDIR");
}

static void lists_are_sorted_and_chosen_from(void **state)
{
    (void)state;
    store("a", "zebra.mp4", "1");
    store("b", "apple.mp4", "333");
    store("c", "mouse.txt", "22");
    assert_int_equal(run("list|--sort|name|--limit|2"), 0);
    assert_true(strstr(command_out, "apple") < strstr(command_out, "mouse"));
    assert_null(strstr(command_out, "zebra"));
    assert_int_equal(run("list|--sort|size"), 0);
    assert_true(strstr(command_out, "apple") < strstr(command_out, "mouse"));
    assert_true(strstr(command_out, "mouse") < strstr(command_out, "zebra"));
    assert_int_equal(run("list|--name|*.txt|--long"), 0);
    printed("mouse.txt");
    assert_null(strstr(command_out, "apple"));
    assert_int_equal(run("list|--since|2020-12-01"), 0); /* the cluster stored them in November 2020 */
    assert_string_equal(command_out, "");
    assert_int_equal(run("list|--since|2020-10-01|--sort|time|--json"), 0);
    printed("\"name\":\"apple.mp4\"");
    assert_int_equal(run("list|--sort|colour"), 2);
    assert_int_equal(run("list|--since|whenever"), 2);
    assert_int_equal(run("list|a"), 0);
    assert_null(strstr(command_out, "zebra"));
    assert_int_equal(run("find|*.mp4|m*"), 0);
    assert_string_equal(command_out, "a\tzebra.mp4\nb\tapple.mp4\nc\tmouse.txt\n");
    assert_int_equal(run("find|nothing*"), 3);
    assert_int_equal(run("delete|c"), 0);
    assert_int_equal(run("du|--json"), 0);
    printed("\"files\":2,\"bytes\":4,\"trash_files\":1,\"trash_bytes\":2");
    assert_int_equal(run("du"), 0);
    assert_int_equal(run("trash"), 0);
    printed("mouse.txt");
}

static void a_user_without_files_is_named(void **state)
{
    (void)state;
    assert_int_equal(run("list"), 0);
    said("user user1 has no files");
    assert_int_equal(run("-q|list"), 0);
    assert_string_equal(command_err, "");
    world.cluster.tracker.unknown_user = true;
    assert_int_equal(run("list"), 0);
    said("user user1 is unknown");
}

static void nothing_printed_moves_a_terminal(void **state)
{
    char shown[64];

    (void)state;
    store("f", "a \xe2\x80\xae z", "x");
    store("g\x1b]0;x\x07 \xc2\x9b\x33\x31m", "b", "x"); /* an ID may be any bytes */
    assert_int_equal(run("stat|f"), 0);
    assert_int_equal(run("list"), 0);
    for (const char *at = command_out; *at; at++)
        assert_true(*at == '\n' || (unsigned char)*at >= 0x20);
    assert_null(strstr(command_out, "\xc2\x9b"));
    assert_null(strstr(command_out, "\xe2\x80\xae"));
    assert_string_equal(command_printable("a\x1b]0;x\x07\xff\x7f", shown, sizeof(shown)), "a?]0;x???");
    assert_string_equal(command_printable("\xc3\xa4\xc3\xa4", shown, 4), "\xc3\xa4"); /* cut at a character */
    assert_int_equal(command_fit("\xc3\xa4\xc3\xa4z", 2), 4);
    assert_int_equal(command_columns("\xc3\xa4z", 9), 2);
    assert_int_equal(command_columns("\xc3\xa4z", 2), 1);
    assert_int_equal(command_columns("\xe7\x89\x87\xe6\xae\xb5.ts", 99), 7); /* two of two columns each */
    assert_int_equal(command_columns("e\xcc\x81", 9), 1);                    /* an accent on its letter */
    assert_int_equal(command_fit("\xe7\x89\x87\xe6\xae\xb5", 3), 3);
    assert_int_equal(command_fit("\xe7\x89\x87\xe6\xae\xb5", 4), 6);
}

/* A tracker may be anybody's: what it calls groups, states and servers goes to a terminal. */
static void names_of_groups_move_no_terminal(void **state)
{
    static const char *const commands[] = {"groups", "admin|group|list", "status"};

    (void)state;
    world.cluster.tracker.groups =
        "             COUNT OF GROUPS: 1\n"
        "               GROUPNAME: g\x1b[2J\xc2\x9b\x33\x31m\xc2\x85\xe2\x80\xaez\n"
        "                HOSTNAME: h\x07\xc2\x90\xc2\x9d\x7f\xff";
    world.cluster.tracker.status =
        "{\"groups\":[{\"name\":\"g\\u001b[2J\xc2\x9b\x33\x31m\\u0085\\u202ez\",\"state\":\"open\xc2\x9d\","
        "\"weight\":100,\"active\":1,\"storages\":[{\"host\":\"h\\u0007\xc2\x90\",\"address\":\"192.0.2.1:"
        "1\xc2\x9b\","
        "\"version\":\"1\\u009b\",\"state\":\"ACTIVE\xc2\x85\",\"load\":null}]}]}";
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        assert_int_equal(run("%s", commands[i]), 0);
        printed("z");
        for (const char *at = command_out; *at; at++) {
            if ((*at != '\n' && (unsigned char)*at < 0x20) || *at == 0x7f)
                fail_msg("%s prints byte %02x", commands[i], (unsigned char)*at);
            /* U+0080 to U+009F */
            if ((unsigned char)at[0] == 0xc2 && (unsigned char)at[1] < 0xa0)
                fail_msg("%s prints U+00%02X", commands[i], (unsigned char)at[1]);
        }
        assert_null(strstr(command_out, "\xe2\x80\xae"));
        assert_null(strchr(command_out, '\xff'));
    }
}

static void a_link_is_printed_without_asking_anybody(void **state)
{
    (void)state;
    assert_int_equal(run("url|f|g|--http|http://m:1|--name|a b"), 0);
    assert_string_equal(command_out,
                        "http://m:1/files/tnvideo/user1/f/a%20b\nhttp://m:1/files/tnvideo/user1/g/a%20b\n");
}

/* ---- on a terminal ---- */

struct terminal {
    int fd;
    char shown[COMMAND_OUTPUT_MAX];
    unsigned short columns; /* 0: 100 */
};

static void *read_terminal(void *argument)
{
    struct terminal *terminal = argument;
    size_t used = 0;
    ssize_t got;

    while (used + 1 < sizeof(terminal->shown) &&
           (got = read(terminal->fd, terminal->shown + used, sizeof(terminal->shown) - 1 - used)) > 0)
        used += (size_t)got;
    terminal->shown[used] = '\0';
    return NULL;
}

/* Runs RUN_IT with a terminal as standard error; what it shows goes to *TERMINAL. */
static int run_on_terminal(struct terminal *terminal, int (*run_it)(int argc, char **argv), int argc,
                           char **argv)
{
    int other, result;
    pthread_t reader;

    const struct winsize size = {.ws_row = 25, .ws_col = terminal->columns > 0 ? terminal->columns : 100};

    assert_int_equal(openpty(&terminal->fd, &other, NULL, NULL, &size), 0);
    assert_int_equal(pthread_create(&reader, NULL, read_terminal, terminal), 0);
    result = command_catch(run_it, argc, argv, other);
    close(other);
    assert_int_equal(pthread_join(reader, NULL), 0);
    close(terminal->fd);
    return result;
}

static void write_large(const char *path, size_t size)
{
    static char bytes[65536];
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    for (size_t at = 0; at < size; at += sizeof(bytes))
        assert_int_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
    close(fd);
}

static void bars_are_drawn_for_each_file_and_for_all(void **state)
{
    static struct terminal terminal;
    /* The 24th column is the middle of these two-byte characters. */
    static char name[] =
        "x\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
        "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3"
        "\xa4";
    char *argv[] = {"reel", "-t", world.cluster.tracker.peer.address, "-u", "user1", "upload", name,
                    "b",    NULL};
    char *alone[] = {"reel", "-t", world.cluster.tracker.peer.address, "-u", "user1", "upload", "b", NULL};

    (void)state;
    setenv("TERM", "xterm", 1);
    write_large(name, 3000000);
    write_large("b", 1000000);
    assert_int_equal(run_on_terminal(&terminal, command_main, 8, argv), 0);
    assert_non_null(strstr(terminal.shown, "of 2 files"));
    assert_non_null(strstr(terminal.shown, "100% [========================]"));
    for (const char *at = terminal.shown; (at = strchr(at, '\xc3')); at++)
        assert_true(at[1] == '\xa4'); /* no character was cut */
    assert_int_equal(run_on_terminal(&terminal, command_main, 7, alone), 0);
    assert_null(strstr(terminal.shown, "of 2 files"));
    /* Read before it is sent, where the server wants the digest first. */
    atomic_store(&world.cluster.storages[0].no_trailer, true);
    atomic_store(&world.cluster.storages[1].no_trailer, true);
    assert_int_equal(run_on_terminal(&terminal, command_main, 7, alone), 0);
    assert_non_null(strstr(terminal.shown, " reading"));
}

/* The longest line that was shown, in columns; escape sequences take none. */
static size_t widest(const char *shown)
{
    char line[1024];
    size_t most = 0, used = 0;

    for (; *shown != '\0'; shown++) {
        if (*shown == '\033') {
            shown += strcspn(shown, "AJKm");
        } else if (*shown == '\n' || *shown == '\r') {
            most = max_size(most, command_columns(line, used));
            used = 0;
        } else if (used < sizeof(line)) {
            line[used++] = *shown;
        }
    }
    return most;
}

static int draw_long_label(int argc, char **argv)
{
    struct command command = {.output = PTHREAD_MUTEX_INITIALIZER};
    struct command_display *display = command_display_create(&command);
    /* Thirty Chinese characters. */
    struct command_bar *bar = command_bar_begin(
        display,
        "\xe7\x89\x87\xe7\x89\x87\xe7\x89\x87\xe7\x89\x87\xe7\x89\x87\xe7\x89\x87\xe7\x89\x87\xe7\x89\x87"
        "\xe7\x89\x87\xe7\x89\x87\xe7\x89\x87\xe7\x89\x87\xe7\x89\x87\xe7\x89\x87\xe7\x89\x87\xe7\x89\x87"
        "\xe7\x89\x87\xe7\x89\x87\xe7\x89\x87\xe7\x89\x87\xe7\x89\x87\xe7\x89\x87\xe7\x89\x87\xe7\x89\x87");

    (void)argc;
    (void)argv;
    assert_true(command_bar_prepare(bar, INT64_C(1) << 40, INT64_C(1) << 40));
    assert_true(command_bar_step(bar, INT64_C(1) << 40, INT64_C(1) << 40));
    command_bar_end(bar);
    command_display_destroy(display);
    return 0;
}

static void a_bar_is_never_wider_than_the_terminal(void **state)
{
    static struct terminal terminal;
    static const unsigned short columns[] = {20, 12, 40, 60, 80, 100, 200};

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
        terminal = (struct terminal){.columns = columns[i]};
        assert_int_equal(run_on_terminal(&terminal, draw_long_label, 0, NULL), 0);
        assert_in_range(widest(terminal.shown), min_size(columns[i], 86) - 8, (size_t)columns[i] - 1);
        assert_non_null(strstr(terminal.shown, "100%"));
        assert_int_equal(strstr(terminal.shown, "[=") != NULL, columns[i] >= 40);
    }
}

/* A bar that stands at 2000 of 3000 bytes, and begins again. */
static int begin_again(int argc, char **argv)
{
    struct command command = {.output = PTHREAD_MUTEX_INITIALIZER};
    struct command_display *display = command_display_create(&command);
    struct command_bar *bar = command_bar_begin(display, "film");

    (void)argc;
    (void)argv;
    assert_true(command_bar_step(bar, 2000, 3000));
    usleep(150000); /* it is not drawn more often than ten times per second */
    assert_true(command_bar_step(bar, 1000, 3000));
    command_bar_end(bar);
    command_display_destroy(display);
    return 0;
}

static void what_is_sent_again_is_told_from_what_is_new(void **state)
{
    static struct terminal terminal;

    (void)state;
    assert_int_equal(run_on_terminal(&terminal, begin_again, 0, NULL), 0);
    assert_non_null(strstr(terminal.shown, " 66% [================        ]"));
    assert_non_null(strstr(terminal.shown, " 33% [========--------        ]"));
}

static void colours_are_for_terminals_and_not_for_who_wants_none(void **state)
{
    static struct terminal terminal;
    char *argv[] = {"reel", "-t", world.cluster.tracker.peer.address, "-u", "user1", "size", "missing", NULL};

    (void)state;
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    assert_int_equal(run_on_terminal(&terminal, command_main, 7, argv), 3);
    assert_non_null(strstr(terminal.shown, "\x1b[31m"));
    setenv("NO_COLOR", "1", 1);
    assert_int_equal(run_on_terminal(&terminal, command_main, 7, argv), 3);
    assert_null(strstr(terminal.shown, "\x1b["));
    unsetenv("NO_COLOR");
    assert_int_equal(run("size|missing"), 3);
    assert_null(strstr(command_err, "\x1b["));
}

/* ---- the servers ---- */

#define MEMBER(address, state, free)                                                                         \
    "{\"host\":\"media1\",\"address\":\"" address "\",\"version\":\"" REEL_VERSION "\",\"state\":\"" state   \
    "\",\"suspect\":false,\"start_time\":1,\"join_time\":1,\"beat_time\":1,\"silent_ms\":7000,\"load\":{"    \
    "\"state\":\"ready\",\"capacity\":1000000,\"free\":" free                                                \
    ",\"free_inodes\":99999999,\"connections\":1,\"uploads\":3,\"requests\":1,\"trash\":2048}}"

static void the_status_is_a_table_of_groups_and_members(void **state)
{
    static const char text[] =
        "{\"groups\":[{\"name\":\"group001\",\"state\":\"open\",\"weight\":100,\"active\":1,"
        "\"storages\":[" MEMBER("192.0.2.1:23000", "ACTIVE", "250000") "," MEMBER("192.0.2.2:23000",
                                                                                  "OFFLINE", "250000") "]}]}";

    (void)state;
    world.cluster.tracker.status = text;
    assert_int_equal(run("status"), 0);
    printed("group001");
    printed("192.0.2.2:23000");
    printed("OFFLINE");
    printed("75%");
    printed("1 of 2 active");
    assert_int_equal(run("status|--json"), 0);
    assert_string_equal(command_out + strlen(command_out) - 1, "\n");
    printed("\"groups\":[");
    assert_int_equal(run("groups"), 0);
    printed("COUNT OF GROUPS: 1");
    assert_int_equal(run("admin|group|list"), 0);
    printed("group001");
    assert_int_equal(run("admin|group|weight|g|1000001"), 2);
    assert_int_equal(run("admin|group|nonsense"), 2);
    assert_int_equal(run("admin|nonsense|list"), 2);
    assert_int_equal(run("admin|group|add|g|5|--dry-run"), 0);
    printed("would add group g");
    world.cluster.tracker.status = "{}";
    assert_int_equal(run("status"), 1);
}

static void the_table_is_printed_again_and_again(void **state)
{
    static const char text[] =
        "{\"groups\":[{\"name\":\"group001\",\"state\":\"open\",\"weight\":100,\"active\":1,"
        "\"storages\":[" MEMBER("192.0.2.1:23000", "ACTIVE", "250000") "]}]}";
    const char *second;

    (void)state;
    world.cluster.tracker.status = text;
    assert_int_equal(run("top|--interval|20ms|--limit|2"), 0);
    printed("groups: 1  storage servers: 1\n");
    second = strstr(strstr(command_out, "GROUP / MEMBER") + 1, "GROUP / MEMBER");
    assert_non_null(second);
    assert_null(strstr(second + 1, "GROUP / MEMBER"));
    assert_null(strchr(command_out, '\033')); /* it is no terminal */
    assert_int_equal(run("top|--interval|20ms|--limit|3|--json"), 0);
    assert_int_equal(strchr(strchr(command_out, '\n') + 1, '\n')[1], '{');
    assert_int_equal(run("top|--interval|20ms|--max-time|2s"), 0);
    said("--max-time is over");
    /* The end comes while a question is under way; and before any was answered. */
    atomic_store(&world.cluster.tracker.status_left, 2);
    assert_int_equal(run("top|--interval|20ms|--max-time|2s"), 0);
    printed("groups: 1  storage servers: 1\n");
    assert_int_equal(atomic_load(&world.cluster.tracker.status_left), 1);
    assert_int_equal(run("top|--interval|20ms|--max-time|300ms"), 5);
    atomic_store(&world.cluster.tracker.status_left, 0);
    assert_int_equal(run("top|--interval|soon"), 2);
    world.cluster.tracker.status = "{}";
    assert_int_equal(run("top|--interval|20ms"), 1); /* nobody sits there to see the next one do better */
}

/* `reel top` with a terminal as its standard input and output, where KEYS have been pressed. */
static int top_on_terminal(struct terminal *terminal, const char *status, const char *keys)
{
    char *argv[] = {"reel", "-t", world.cluster.tracker.peer.address, "top", "--interval", "20ms", NULL};
    int ends[2], in = dup(STDIN_FILENO), out = dup(STDOUT_FILENO), result;
    pthread_t reader;

    memset(terminal, 0, sizeof(*terminal));
    world.cluster.tracker.status = status;
    assert_int_equal(openpty(&ends[0], &ends[1], NULL, NULL, NULL), 0);
    terminal->fd = ends[0];
    assert_int_equal(write(ends[0], keys, strlen(keys)), strlen(keys));
    assert_int_equal(pthread_create(&reader, NULL, read_terminal, terminal), 0);
    fflush(stdout);
    dup2(ends[1], STDIN_FILENO);
    dup2(ends[1], STDOUT_FILENO);
    close(ends[1]);
    result = command_main(6, argv);
    fflush(stdout);
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    close(in);
    close(out);
    assert_int_equal(pthread_join(reader, NULL), 0);
    close(terminal->fd);
    return result;
}

static void a_terminal_shows_one_table_until_q(void **state)
{
    static struct terminal terminal;
    static const char text[] = "{\"groups\":[]}";

    (void)state;
    setenv("TERM", "xterm", 1);
    assert_int_equal(top_on_terminal(&terminal, text, " q"), 0);
    assert_non_null(strstr(terminal.shown, "\033[H\033[2J"));
    assert_non_null(strstr(terminal.shown, "(q: quit)"));
    assert_int_equal(top_on_terminal(&terminal, "{}", "Q"),
                     0); /* a failure is shown, and the next turn waited for */
}

#define GROUP(name, state, free)                                                                             \
    "{\"name\":\"" name "\",\"state\":\"" state                                                              \
    "\",\"weight\":100,\"active\":1,\"storages\":[" MEMBER("192.0.2.1:23000", "ACTIVE", free) "]}"

static void route(const char *user)
{
    struct fake_tracker *tracker = &world.cluster.tracker;

    char(*names)[sizeof(tracker->users[0][0])] = tracker->users[tracker->user_count++];

    snprintf(names[0], sizeof(names[0]), "tnvideo");
    snprintf(names[1], sizeof(names[1]), "%s", user);
}

static void a_group_is_emptied_into_others(void **state)
{
    struct fake_tracker *tracker = &world.cluster.tracker;
    struct fake_group *files = &world.cluster.group;

    (void)state;
    tracker->status =
        "{\"groups\":[" GROUP("group001", "draining", "10000") "," GROUP("group002", "open", "250000") "]}";
    store("a", "clip.mp4", "content of a");
    store("b", "other.mp4", "b");
    assert_int_equal(run("delete|b"), 0);
    assert_int_equal(run("upload|-u|user2|--file-id|c|--name|c|%s", "/etc/hostname"), 0);
    route("user1");
    route("user2");
    assert_int_equal(run("admin|group|drain|group001|--empty|--dry-run"), 0);
    printed("would move user user1 of tnvideo: 2 files (13 B) to group002");
    assert_string_equal(tracker->routes[0], "");
    assert_int_equal(run("admin|group|remove|group001"), 4);
    said("the group still has 3 files, and 0 former copies");
    assert_int_equal(run("admin|group|drain|group001|--empty|-j|2|--rate|1M|--settle|100ms|--json"), 0);
    printed("{\"user\":\"user1\",\"application\":\"tnvideo\",\"from\":\"group001\",\"to\":\"group002\","
            "\"files\":2,\"bytes\":13}");
    printed("\"failures\":0,\"left\":0,\"former_copies\":3}");
    for (int i = 0; i < files->count; i++)
        assert_string_equal(files->files[i].group, "group002");
    assert_true(files->files[1].deleted);
    assert_string_equal(tracker->routes[0], "group002");
    assert_string_equal(tracker->routes[1], "group002");
    assert_int_equal(run("admin|group|remove|group001"), 4);
    said("3 former copies that are not purged yet");
    for (int i = 0; i < files->count; i++)
        free(files->files[i].bytes);
    files->count = 0;
    assert_int_equal(run("admin|group|remove|group001"), 0);
}

static void what_an_earlier_run_left_is_moved_and_what_cannot_be_is_counted(void **state)
{
    struct fake_tracker *tracker = &world.cluster.tracker;
    struct fake_group *files = &world.cluster.group;

    (void)state;
    tracker->status = "{\"groups\":[" GROUP("group001", "draining", "10000") "," GROUP(
        "group002", "open", "250000") "," GROUP("group003", "open", "900000") "]}";
    store("a", "clip.mp4", "content of a");
    store("b", "other.mp4", "b");
    route("user1");
    strcpy(tracker->routes[0], "group002"); /* cut off after REROUTE */
    assert_int_equal(run("admin|group|drain|group001|--empty|--settle|100ms"), 0);
    printed("0 users with 2 files");
    assert_string_equal(files->files[0].group, "group002"); /* to where the user is, not to the emptier one */
    files->files[0].group[0] = '\0';
    tracker->routes[0][0] = '\0';
    files->files[1].group[0] = '\0';
    for (int i = 0; i < world.cluster.count; i++) /* servers that send other bytes than they have */
        atomic_store(&world.cluster.storages[i].corrupt, true);
    assert_int_equal(run("admin|group|drain|group001|--empty|--to|group003|--settle|100ms"), 1);
    said("reel: a: ");
    printed("2 files are left there");
    assert_string_equal(files->files[1].group, "");
    for (int i = 0; i < world.cluster.count; i++)
        atomic_store(&world.cluster.storages[i].corrupt, false);
    assert_int_equal(run("admin|group|drain|group001|--empty|--to|group003|--settle|100ms"), 0);
    assert_string_equal(files->files[1].group, "group003");
    int changes = atomic_load(&tracker->changes); /* what cannot be done changes nothing either */
    assert_int_equal(run("admin|group|drain|group001|--empty|--to|nowhere"), 2);
    said("no group can take the users of group001");
    assert_int_equal(run("admin|group|drain|group001|--empty|--rate|fast"), 2);
    assert_int_equal(run("admin|group|drain|group001|--empty|--settle|soon"), 2);
    assert_int_equal(atomic_load(&tracker->changes), changes);
    assert_int_equal(run("admin|group|drain|group001"), 0);
    assert_null(strstr(command_err, "no group is open"));
    tracker->status =
        "{\"groups\":[" GROUP("group001", "open", "10000") "," GROUP("group002", "draining", "2") "]}";
    assert_int_equal(run("admin|group|drain|group001"), 0);
    said("no group is open for new users now; they are refused until one is");
    assert_int_equal(atomic_load(&tracker->changes), changes + 2);
    atomic_store(&tracker->fail_code, -9);
    atomic_store(&tracker->fail_left, 1000000);
    assert_int_equal(run("admin|group|drain|group001|--empty"), 5);
    assert_int_equal(run("admin|group|remove|group001"), 5);
    atomic_store(&tracker->fail_code, -10);
    assert_int_equal(run("admin|group|remove|group001"), 5);
    atomic_store(&tracker->fail_code, 0);
}

static void the_fullest_group_gives_users_to_the_others(void **state)
{
    struct fake_tracker *tracker = &world.cluster.tracker;

    (void)state;
    tracker->status =
        "{\"groups\":[" GROUP("group001", "open", "500000") "," GROUP("group002", "open", "520000") "]}";
    assert_int_equal(run("admin|group|rebalance"), 0);
    printed("about equally full");
    tracker->status =
        "{\"groups\":[" GROUP("group001", "open", "100000") "," GROUP("group002", "open", "900000") "]}";
    store("a", "clip.mp4", "content of a");
    route("user1");
    assert_int_equal(run("admin|group|rebalance|--dry-run"), 0);
    printed("would move user user1");
    assert_int_equal(run("admin|group|rebalance|--settle|100ms"), 0);
    assert_string_equal(tracker->routes[0], "group002");
    assert_int_equal(run("admin|group|rebalance|group001"), 2);
}

static void the_doctor_names_what_is_wrong_and_what_mends_it(void **state)
{
    char text[2048], dead[32];

    (void)state;
    assert_int_equal(run("doctor"), 5);
    printed("reel admin group add");
    peer_dead_address(dead);
    snprintf(
        text, sizeof(text),
        "{\"groups\":[{\"name\":\"group001\",\"state\":\"open\",\"weight\":100,\"active\":1,\"storages\":["
        "{\"host\":\"media1\",\"address\":\"%s\",\"version\":\"" REEL_VERSION
        "\",\"state\":\"ACTIVE\",\"suspect\":"
        "false,"
        "\"beat_time\":1000,\"silent_ms\":100,\"clock_s\":0,\"load\":{\"state\":\"ready\",\"capacity\":1000,"
        "\"free\":900,"
        "\"free_inodes\":99999999}}]}],\"time\":%lld,\"version\":\"" REEL_VERSION "\"}",
        world.cluster.storages[0].peer.address, (long long)time(NULL));
    world.cluster.tracker.status = text;
    assert_int_equal(run("doctor"), 0);
    printed("answers, and so does its database");
    assert_null(strstr(command_out, "clock"));
    assert_null(strstr(command_out, "CRITICAL"));
    /* A storage server that the tracker believes in and nobody reaches; a full disk; a clock that is off. */
    snprintf(
        text, sizeof(text),
        "{\"groups\":[{\"name\":\"group001\",\"state\":\"draining\",\"weight\":100,\"active\":1,\"storages\":"
        "["
        "{\"host\":\"media1\",\"address\":\"%s\",\"version\":\"0.9\",\"state\":\"ACTIVE\",\"suspect\":true,"
        "\"beat_time\":1000,\"silent_ms\":100,\"clock_s\":-40,\"load\":{\"state\":\"read-only\",\"capacity\":"
        "1000,\"free\":0,"
        "\"free_inodes\":9}}]}],\"time\":%lld,\"version\":\"0.9\"}",
        dead, (long long)time(NULL) + 100);
    assert_int_equal(run("doctor|--json|--idservers|%s", dead), 5);
    printed("cannot be asked from here");
    printed("is full: uploads are refused");
    printed("none is open for new users: they are refused");
    printed("its clock is "); /* 100 s, less what passed meanwhile */
    printed(" s ahead of the one here");
    printed("its clock was 40 s behind the tracker's");
    printed("has version 0.9, this command");
    printed("late with its heartbeats");
    printed("takes no uploads");
    printed("idserver");
    printed("\"worst\":\"CRITICAL\"");
    assert_int_equal(run_words("doctor|-t|127.0.0.1:1", false), 5);
    printed("systemctl status reel-tracker");
    world.cluster.tracker.status = NULL;
}

static void a_scrub_is_reported_and_judged(void **state)
{
    (void)state;
    world.cluster.group.fsck =
        "{\"wanted\":1,\"done\":1,\"progress\":{\"phase\":\"idle\",\"rows\":5,\"bytes\":9,"
        "\"findings\":{\"missing\":0},\"lines\":[]}}";
    assert_int_equal(run("fsck"), 0);
    printed("rows            5");
    world.cluster.group.fsck =
        "{\"wanted\":1,\"done\":1,\"progress\":{\"phase\":\"idle\",\"rows\":5,\"bytes\":9,"
        "\"findings\":{\"missing\":2},\"lines\":[\"file x\\u001b is missing\"]}}";
    assert_int_equal(run("fsck"), 6);
    printed("missing         2");
    printed("file x? is missing");
    assert_int_equal(run("fsck|--json|--status"), 6);
    world.cluster.group.fsck = "[]";
    assert_int_equal(run("fsck"), 1);
    world.cluster.group.fsck = "{\"wanted\":2,\"done\":1,\"progress\":{\"phase\":\"rows\"}}";
    assert_int_equal(run("fsck|--max-time|1s"), 5);
    said("continues on the servers");
    assert_int_equal(run("fsck|--status"), 0);
}

static void a_limit_of_time_ends_what_hangs(void **state)
{
    int silent = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(name);
    char address[64];

    (void)state;
    assert_int_equal(bind(silent, (struct sockaddr *)&name, sizeof(name)), 0);
    assert_int_equal(listen(silent, 8), 0);
    assert_int_equal(getsockname(silent, (struct sockaddr *)&name, &size), 0);
    snprintf(address, sizeof(address), "127.0.0.1:%u;", ntohs(name.sin_port));
    fake_tracker_point(&world.cluster.tracker, address);
    write_text("a", "one");
    assert_int_equal(run("upload|a|--max-time|4s"), 5);
    said("--max-time is over");
    said("0 of 1 files done");
    said("waiting for the server to confirm");
    said("its file ID is");
    close(silent);
}

static void a_port_of_something_else_is_recognised(void **state)
{
    (void)state;
    world.cluster.tracker.http = true;
    assert_int_equal(run("groups"), 1);
    said("HTTP");
    said("is this the right port?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(options_are_written_out_and_stand_anywhere),
        TEST(usage_errors_are_json_where_that_is_asked_for),
        TEST(each_command_has_its_help),
        TEST(a_setting_comes_from_option_environment_or_file),
        TEST(times_are_durations_and_dates),
        TEST(a_day_that_is_none_is_no_date),
        TEST(an_upload_prints_its_id_and_of_several_their_paths),
        TEST(a_package_is_stored_from_its_segments_to_its_master_playlist),
        TEST(a_directory_is_uploaded_where_that_is_asked_for),
        TEST(an_id_that_cannot_be_printed_is_not_lost),
        TEST(a_dry_run_is_json_where_that_is_asked_for),
        TEST(lists_of_files_come_from_a_file),
        TEST(a_list_may_end_its_lines_as_other_programs_do),
        TEST(a_refused_name_gets_an_answer_that_helps),
        TEST(a_download_goes_where_the_arguments_say),
        TEST(two_ids_are_two_files_not_a_file_and_its_name),
        TEST(a_stored_name_is_made_harmless_and_replaces_nothing),
        TEST(a_stored_name_is_never_resumed_into),
        TEST(what_is_deleted_twice_says_so),
        TEST(a_file_gets_another_name),
        TEST(copies_have_the_same_bytes),
        TEST(lists_are_sorted_and_chosen_from),
        TEST(a_user_without_files_is_named),
        TEST(nothing_printed_moves_a_terminal),
        TEST(names_of_groups_move_no_terminal),
        TEST(a_link_is_printed_without_asking_anybody),
        TEST(bars_are_drawn_for_each_file_and_for_all),
        TEST(a_bar_is_never_wider_than_the_terminal),
        TEST(what_is_sent_again_is_told_from_what_is_new),
        TEST(colours_are_for_terminals_and_not_for_who_wants_none),
        TEST(the_status_is_a_table_of_groups_and_members),
        TEST(the_table_is_printed_again_and_again),
        TEST(a_group_is_emptied_into_others),
        TEST(what_an_earlier_run_left_is_moved_and_what_cannot_be_is_counted),
        TEST(the_fullest_group_gives_users_to_the_others),
        TEST(a_terminal_shows_one_table_until_q),
        TEST(the_doctor_names_what_is_wrong_and_what_mends_it),
        TEST(a_scrub_is_reported_and_judged),
        TEST(a_limit_of_time_ends_what_hangs),
        TEST(a_port_of_something_else_is_recognised),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
