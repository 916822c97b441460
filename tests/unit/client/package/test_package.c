/*
 * Folders with HLS and DASH streams as they are to be stored: which URIs become which links, and what is refused with which words.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "client/package/package.h"
#include "client/package/package_uri.h"
#include "tests/unit/library/files.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static struct package package;
static struct error error;

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/reel-package-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    package_clear(&package);
    remove_tree(folder);
    return 0;
}

/* A file in the folder, and the directory that it lies in. */
static void put(const char *name, const char *text)
{
    char path[4096];
    const char *slash = strchr(name, '/');

    if (slash) {
        snprintf(path, sizeof(path), "%s/%.*s", folder, (int)(slash - name), name);
        (void)mkdir(path, 0700);
    }
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static bool read_it(void)
{
    package_clear(&package);
    memset(&error, 0, sizeof(error));
    return package_read(&package, folder, "base", &error);
}

static void assert_read(void)
{
    if (!read_it())
        fail_msg("refused: %s", error.text);
}

static void assert_refused(const char *why)
{
    assert_false(read_it());
    if (!strstr(error.text, why))
        fail_msg("\"%s\" is not in \"%s\"", why, error.text);
}

static void assert_stored(const char *path, const char *id)
{
    const struct package_file *file = package_folder_find(&package.folder, path);

    assert_non_null(file);
    if (id)
        assert_string_equal(file->id, id);
    else
        assert_null(file->id);
}

static void assert_text(const char *path, const char *text)
{
    const struct package_file *file = package_folder_find(&package.folder, path);

    assert_non_null(file);
    assert_non_null(file->text);
    assert_string_equal(file->text, text);
    assert_int_equal(file->size, strlen(text));
}

#define HLS(lines) "#EXTM3U\n#EXT-X-TARGETDURATION:4\n" lines "#EXT-X-ENDLIST\n"

/* ---- HLS ---- */

static void uris_of_a_playlist_become_links_and_nothing_else_changes(void **state)
{
    (void)state;
    put("master.m3u8",
        "#EXTM3U\r\n# a comment: "
        "low.m3u8\r\n#EXT-X-MEDIA:TYPE=AUDIO,NAME=\"a,URI=x\",URI=\"snd/a.m3u8\",GROUP-ID=\"g\"\r\n"
        "#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"g\"\r\n./low.m3u8?x=1\r\n\r\n");
    put("low.m3u8", HLS("#EXT-X-KEY:METHOD=AES-128,URI=\"https://keys.example/1\",IV=0x1\n"
                        "#EXT-X-KEY:METHOD=AES-128,URI=\"k.key\"\n#EXT-X-MAP:URI=\"i.mp4\",BYTERANGE=\"10@"
                        "0\"\n#EXTINF:4,a title\na%20b.ts\n"
                        "#EXTINF:4,\nsnd/../snd/a$1.ts \n"));
    put("snd/a.m3u8", HLS("#EXTINF:4,\n../i.mp4\n#EXTINF:4,\na$1.ts\n"));
    put("k.key", "k");
    put("i.mp4", "i");
    put("a b.ts", "s");
    put("snd/a$1.ts", "s");
    put("unused.ts", "s");
    assert_read();
    assert_text("master.m3u8",
                "#EXTM3U\r\n# a comment: low.m3u8\r\n#EXT-X-MEDIA:TYPE=AUDIO,NAME=\"a,URI=x\","
                "URI=\"../base-snd-a.m3u8/a.m3u8\",GROUP-ID=\"g\"\r\n"
                "#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"g\"\r\n../base-low.m3u8/low.m3u8\r\n\r\n");
    assert_text("low.m3u8",
                HLS("#EXT-X-KEY:METHOD=AES-128,URI=\"https://keys.example/1\",IV=0x1\n"
                    "#EXT-X-KEY:METHOD=AES-128,URI=\"../base-k.key/k.key\"\n"
                    "#EXT-X-MAP:URI=\"../base-i.mp4/i.mp4\",BYTERANGE=\"10@0\"\n#EXTINF:4,a title\n"
                    "../base-a%20b.ts/a%20b.ts\n#EXTINF:4,\n../base-snd-a%241.ts/a%241.ts \n"));
    assert_text("snd/a.m3u8",
                HLS("#EXTINF:4,\n../base-i.mp4/i.mp4\n#EXTINF:4,\n../base-snd-a%241.ts/a%241.ts\n"));
    assert_stored("master.m3u8", "base");
    assert_stored("low.m3u8", "base-low.m3u8");
    assert_stored("a b.ts", "base-a b.ts");
    assert_stored("snd/a$1.ts", "base-snd-a$1.ts");
    assert_stored("unused.ts", NULL);
    assert_int_equal(package.root_count, 1);
}

static void playlists_come_behind_those_that_they_name(void **state)
{
    (void)state;
    put("a.m3u8", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nz.m3u8\n#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI="
                  "\"b.m3u8\"\n");
    put("z.m3u8", HLS("#EXTINF:4,\ns.ts\n"));
    put("b.m3u8", HLS("#EXTINF:4,\ns.ts\n"));
    put("s.ts", "s");
    assert_read();
    int master = package_folder_find(&package.folder, "a.m3u8")->order;
    assert_true(master > package_folder_find(&package.folder, "z.m3u8")->order);
    assert_true(master > package_folder_find(&package.folder, "b.m3u8")->order);
    assert_ptr_equal(package.roots[0], package_folder_find(&package.folder, "a.m3u8"));
}

static void the_playlist_that_is_meant_can_be_given(void **state)
{
    char path[128];

    (void)state;
    put("a.m3u8", HLS("#EXTINF:4,\ns.ts\n"));
    put("b.m3u8", HLS("#EXTINF:4,\nt.ts\n"));
    put("s.ts", "s");
    put("t.ts", "t");
    assert_refused("give the one that is meant");
    snprintf(path, sizeof(path), "%s/b.m3u8", folder);
    package_clear(&package);
    assert_true(package_read(&package, path, "base", &error));
    assert_stored("b.m3u8", "base");
    assert_stored("a.m3u8", NULL);
    assert_stored("s.ts", NULL);
}

static void what_is_wrong_with_a_playlist_is_said_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } cases[] = {
        {HLS("#EXTINF:4,\nno.ts\n"), "m.m3u8: line 4: no.ts is not in the folder"},
        {HLS("#EXTINF:4,\n../s.ts\n"), "m.m3u8: line 4: ../s.ts: it leads out of the folder"},
        {HLS("#EXTINF:4,\na/../../s.ts\n"), "it leads out of the folder"},
        {HLS("#EXTINF:4,\n%2e%2e/s.ts\n"), "it leads out of the folder"},
        {HLS("#EXTINF:4,\n/s.ts\n"), "line 4: /s.ts: an absolute URI"},
        {HLS("#EXTINF:4,\n//host/s.ts\n"), "an absolute URI"},
        {HLS("#EXTINF:4,\nhttps://host/s.ts\n"), "an absolute URI"},
        {HLS("#EXT-X-MAP:URI=\"data:x\"\n"), "line 3: data:x: an absolute URI"},
        {HLS("#EXTINF:4,\na%2Fs.ts\n"), "an encoded slash"},
        {HLS("#EXTINF:4,\ns%2.ts\n"), "a malformed escape"},
        {HLS("#EXTINF:4,\ns\x01.ts\n"), "a control character"},
        {HLS("#EXTINF:4,\n?a=1\n"), "it names no file"},
        {HLS("#EXTINF:4,\nm.m3u8\n"), "m.m3u8 is a playlist, where a segment is expected"},
        {HLS("#EXT-X-DEFINE:NAME=\"a\",VALUE=\"b\"\n"), "variables"},
        {"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nm.m3u8\n", "leads back to it"},
        {"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\ns.ts\n", "does not end in .m3u8"},
        {"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nno.m3u8\n", "line 3: no.m3u8 is not in the folder"},
        {"#EXTM3U\n#EXTINF:4,\ns.ts\n", "no #EXT-X-ENDLIST"},
        {HLS("#EXTINF:4,\ns.ts\n#EXT-X-STREAM-INF:BANDWIDTH=1\n"), "only one of the two kinds"},
        {"#EXTM3U8\n", "does not begin with #EXTM3U"},
        {"", "does not begin with #EXTM3U"},
    };
    put("s.ts", "s");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        put("m.m3u8", cases[i].text);
        assert_refused(cases[i].why);
    }
}

static void playlists_that_lead_back_are_found_over_several_steps(void **state)
{
    (void)state;
    put("a.m3u8", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nb.m3u8\n");
    put("b.m3u8", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n");
    assert_refused("a.m3u8: line 3: b.m3u8: line 3: a.m3u8 names itself, or what it names leads back to it");
    for (char name[] = "c.m3u8", next[] = "d.m3u8"; name[0] < 'q'; name[0]++, next[0]++) {
        char text[128];

        snprintf(text, sizeof(text), "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n%s\n", next);
        put(name, text);
    }
    put("a.m3u8", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nc.m3u8\n");
    assert_refused("more than 8 deep");
}

static void nothing_outside_of_the_folder_is_stored_by_a_link(void **state)
{
    char path[128], target[128];

    (void)state;
    put("m.m3u8", HLS("#EXTINF:4,\nout.ts\n#EXTINF:4,\nin.ts\n"));
    put("s.ts", "s");
    snprintf(path, sizeof(path), "%s/in.ts", folder);
    assert_int_equal(symlink("s.ts", path), 0);
    snprintf(path, sizeof(path), "%s/out.ts", folder);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_refused("out.ts is not in the folder");
    assert_int_equal(unlink(path), 0);
    snprintf(target, sizeof(target), "%s/s.ts", folder);
    assert_int_equal(symlink(target, path), 0);
    assert_read();
    assert_stored("in.ts", "base-in.ts");
}

static void ids_that_are_too_long_or_the_same_are_refused(void **state)
{
    char name[128], text[512];

    (void)state;
    memset(name, 'n', 120);
    strcpy(name + 120, ".ts");
    put(name, "s");
    snprintf(text, sizeof(text), HLS("#EXTINF:4,\n%s\n"), name);
    put("m.m3u8", text);
    assert_refused("longer than 127 bytes");
    put("a/b.ts", "1");
    put("a-b.ts", "2");
    put("m.m3u8", HLS("#EXTINF:4,\na/b.ts\n#EXTINF:4,\na-b.ts\n"));
    assert_refused("the same file ID, base-a-b.ts");
}

static void folders_and_ids_that_are_none_are_refused(void **state)
{
    char path[128];
    static const char *const ids[] = {"", "-a", ".", "a b", "a/b", "a$b"};

    (void)state;
    assert_refused("no playlist (.m3u8) and no manifest (.mpd) at its top");
    put("m.m3u8", HLS("#EXTINF:4,\nm.ts\n"));
    put("m.ts", "s");
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        package_clear(&package);
        assert_false(package_read(&package, folder, ids[i], &error));
        assert_non_null(strstr(error.text, "the file ID of a package"));
    }
    snprintf(path, sizeof(path), "%s/m.ts", folder);
    package_clear(&package);
    assert_false(package_read(&package, path, "base", &error));
    assert_non_null(strstr(error.text, "neither a folder nor a playlist"));
    package_clear(&package);
    assert_false(package_read(&package, "/", "base", &error));
    package_clear(&package);
    assert_false(package_read(&package, "/nowhere", "base", &error));
    assert_int_equal(error.code, ERROR_NOT_FOUND);
}

/* ---- DASH ---- */

#define MPD(inner) "<?xml version=\"1.0\"?>\n<MPD type=\"static\"><Period>" inner "</Period></MPD>\n"

static void templates_lead_to_every_segment_of_every_representation(void **state)
{
    (void)state;
    put("m.mpd", MPD("<!-- media=\"x\" -->\n<AdaptationSet><SegmentTemplate startNumber=\"0\" media = "
                     "'v/$RepresentationID$-$Number%03d$.m4s' "
                     "initialization=\"$RepresentationID$.mp4\"><SegmentTimeline><S t=\"0\" d=\"4\" "
                     "r=\"1\"/></SegmentTimeline>"
                     "</SegmentTemplate><Representation id=\"lo\" bandwidth=\"1\"/><Representation id=\"hi\" "
                     "bandwidth=\"2\"/></AdaptationSet>"
                     "<AdaptationSet><Representation id=\"a\" bandwidth=\"7\"><SegmentTemplate "
                     "initialization=\"a.mp4\" "
                     "media=\"$Bandwidth$-$Time$.m4s\"><SegmentTimeline><S t=\"100\" d=\"10\"/><S "
                     "d=\"5\"/></SegmentTimeline></SegmentTemplate>"
                     "</Representation></AdaptationSet>"));
    static const char *const names[] = {"v/lo-000.m4s", "v/lo-001.m4s", "v/hi-000.m4s",
                                        "v/hi-001.m4s", "lo.mp4",       "hi.mp4",
                                        "a.mp4",        "7-100.m4s",    "7-110.m4s"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        put(names[i], "s");
    put("v/lo-002.m4s", "not in the timeline");
    assert_read();
    assert_text(
        "m.mpd",
        MPD("<!-- media=\"x\" -->\n<AdaptationSet><SegmentTemplate startNumber=\"0\" media = "
            "'../base-v-$RepresentationID$-$Number%03d$.m4s/$RepresentationID$-$Number%03d$.m4s' "
            "initialization=\"../base-$RepresentationID$.mp4/$RepresentationID$.mp4\"><SegmentTimeline><S "
            "t=\"0\" d=\"4\" r=\"1\"/>"
            "</SegmentTimeline></SegmentTemplate><Representation id=\"lo\" bandwidth=\"1\"/><Representation "
            "id=\"hi\" bandwidth=\"2\"/>"
            "</AdaptationSet><AdaptationSet><Representation id=\"a\" bandwidth=\"7\"><SegmentTemplate "
            "initialization=\"../base-a.mp4/a.mp4\" "
            "media=\"../base-$Bandwidth$-$Time$.m4s/$Bandwidth$-$Time$.m4s\">"
            "<SegmentTimeline><S t=\"100\" d=\"10\"/><S "
            "d=\"5\"/></SegmentTimeline></SegmentTemplate></Representation></AdaptationSet>"));
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        assert_non_null(package_folder_find(&package.folder, names[i])->id);
    assert_stored("v/hi-001.m4s", "base-v-hi-001.m4s");
    assert_stored("v/lo-002.m4s", NULL);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char gone[128];

        snprintf(gone, sizeof(gone), "%s/%s", folder, names[i]);
        assert_int_equal(unlink(gone), 0);
        snprintf(gone, sizeof(gone), "%s is not in the folder", names[i]);
        assert_refused(gone);
        put(names[i], "s");
    }
}

static void without_a_timeline_the_numbers_have_no_gap(void **state)
{
    (void)state;
    put("m.mpd",
        MPD("<AdaptationSet><SegmentTemplate duration=\"4\" startNumber=\"2\" media=\"s$Number$.m4s\"/>"
            "<Representation id=\"1\" bandwidth=\"1\"/></AdaptationSet>"));
    assert_refused("s2.m4s is not in the folder");
    put("s2.m4s", "s");
    put("s3.m4s", "s");
    assert_read();
    assert_stored("s3.m4s", "base-s3.m4s");
    put("s5.m4s", "s");
    assert_refused("s4.m4s is not in the folder");
}

static void base_urls_are_files_or_directories(void **state)
{
    (void)state;
    put("m.mpd",
        MPD("<BaseURL> v/ </BaseURL><AdaptationSet><Representation "
            "id=\"1\"><BaseURL>one&#x2E;mp4</BaseURL><SegmentBase>"
            "<Initialization sourceURL=\"../i.mp4\" "
            "range=\"0-9\"/></SegmentBase></Representation><Representation id=\"2\"><SegmentList>"
            "<SegmentURL index=\"x.idx\" media=\"a.m4s\"/></SegmentList></Representation></AdaptationSet>"));
    put("v/one.mp4", "1");
    put("i.mp4", "i");
    put("v/x.idx", "x");
    put("v/a.m4s", "a");
    assert_read();
    assert_text("m.mpd",
                MPD("<BaseURL>./</BaseURL><AdaptationSet><Representation "
                    "id=\"1\"><BaseURL>../base-v-one.mp4/one.mp4</BaseURL>"
                    "<SegmentBase><Initialization sourceURL=\"../base-i.mp4/i.mp4\" "
                    "range=\"0-9\"/></SegmentBase></Representation>"
                    "<Representation id=\"2\"><SegmentList><SegmentURL index=\"../base-v-x.idx/x.idx\" "
                    "media=\"../base-v-a.m4s/a.m4s\"/></SegmentList></Representation></AdaptationSet>"));
}

static void what_is_wrong_with_a_manifest_is_said_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"<MPD type='dynamic'/>", "of type dynamic"},
        {"<Playlist/>", "its root element is Playlist, not MPD"},
        {"<MPD>", "not valid XML"},
        {"<!DOCTYPE MPD [<!ENTITY a 'b'>]><MPD/>", "a document type"},
        {MPD("<BaseURL>http://host/</BaseURL>"), "line 2: http://host/: an absolute URI"},
        {MPD("<BaseURL>a/</BaseURL><BaseURL>b/</BaseURL>"), "several BaseURL"},
        {MPD("<BaseURL>./<BaseURL>./</BaseURL></BaseURL>"), "BaseURL inside of a BaseURL"},
        {MPD("<BaseURL>./<SegmentURL media=\"s.mp4\"/></BaseURL>"), "SegmentURL inside of a BaseURL"},
        {MPD("<BaseURL>no.mp4</BaseURL>"), "no.mp4 is not in the folder"},
        {MPD("<BaseURL>../</BaseURL>"), "it leads out of the folder"},
        {"<MPD><Location>x</Location></MPD>", "Location names another address"},
        {MPD("<X xmlns:xlink='x' xlink:href='http://host/p'/>"), "xlink:href to http://host/p"},
        {MPD("<A><SegmentTemplate media='$Sub$'/></A>"), "an identifier of a template other than"},
        {MPD("<A><SegmentTemplate media='$Number%x$'/></A>"), "an identifier of a template other than"},
        {MPD("<A><SegmentTemplate media='$Time$'/><Representation id='1'/></A>"),
         "$Time$ needs a SegmentTimeline"},
        {MPD("<A><SegmentTemplate media='$Time$'><SegmentTimeline><S d='1' "
             "r='-1'/></SegmentTimeline></SegmentTemplate></A>"),
         "negative r"},
        {MPD("<A><SegmentTemplate media='s'><SegmentTimeline><S d='1' "
             "r='9999999'/></SegmentTimeline></SegmentTemplate></A>"),
         "more than 1000000 segments"},
        {MPD("<A><SegmentTemplate media='$RepresentationID$'/><Representation id='a/b'/></A>"),
         "the id of a Representation"},
        {MPD("<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><"
             "a>"),
         "deeper than 32"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        put("m.mpd", cases[i].text);
        assert_refused(cases[i].why);
    }
}

static void a_stream_of_both_kinds_has_two_masters(void **state)
{
    (void)state;
    put("m.mpd",
        MPD("<AdaptationSet><Representation><BaseURL>s.mp4</BaseURL></Representation></AdaptationSet>"));
    put("m.m3u8", HLS("#EXT-X-BYTERANGE:1@0\n#EXTINF:4,\ns.mp4\n"));
    put("s.mp4", "s");
    assert_read();
    assert_int_equal(package.root_count, 2);
    assert_stored("m.m3u8", "base");
    assert_stored("m.mpd", "base-m.mpd");
}

/* ---- URIs ---- */

static void patterns_match_numbers_of_their_width_only(void **state)
{
    uint64_t value = 0;

    (void)state;
    assert_true(package_uri_matches("s\x02\x13.ts", "s042.ts", &value));
    assert_int_equal(value, 42);
    assert_true(package_uri_matches("s\x02\x13.ts", "s1042.ts", NULL));
    assert_false(package_uri_matches("s\x02\x13.ts", "s42.ts", NULL));
    assert_false(package_uri_matches("s\x02.ts", "s042.ts", NULL));
    assert_false(package_uri_matches("s\x02.ts", "s4.tsx", NULL));
    assert_false(package_uri_matches("s\x02.ts", "sx.ts", NULL));
    assert_false(package_uri_matches("s\x02.ts", "t4.ts", NULL));
    assert_true(package_uri_matches("s.ts", "s.ts", NULL));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(uris_of_a_playlist_become_links_and_nothing_else_changes),
        TEST(playlists_come_behind_those_that_they_name),
        TEST(the_playlist_that_is_meant_can_be_given),
        TEST(what_is_wrong_with_a_playlist_is_said_with_its_line),
        TEST(playlists_that_lead_back_are_found_over_several_steps),
        TEST(nothing_outside_of_the_folder_is_stored_by_a_link),
        TEST(ids_that_are_too_long_or_the_same_are_refused),
        TEST(folders_and_ids_that_are_none_are_refused),
        TEST(templates_lead_to_every_segment_of_every_representation),
        TEST(without_a_timeline_the_numbers_have_no_gap),
        TEST(base_urls_are_files_or_directories),
        TEST(what_is_wrong_with_a_manifest_is_said_with_its_line),
        TEST(a_stream_of_both_kinds_has_two_masters),
        TEST(patterns_match_numbers_of_their_width_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
