/*
 * web_files: the assembler takes the files in as they are (.incbin), so that neither a tool nor a generated file comes between
 * them and the program. CMake names the folder, and builds this again when one of them changes.
 */
#include "httpd/web/web_files.h"
#include "common/base/base.h"

#define FILES(f)                                                                                             \
    f(index, "index.html", "text/html; charset=utf-8") f(style, "style.css", "text/css; charset=utf-8")      \
        f(icon, "icon.svg", "image/svg+xml") f(main, "main.js", SCRIPT) f(session, "session.js", SCRIPT)     \
            f(strings, "strings.js", SCRIPT) f(list, "list.js", SCRIPT) f(upload, "upload.js", SCRIPT)       \
                f(tus, "tus.js", SCRIPT) f(player, "player.js", SCRIPT) f(admin, "admin.js", SCRIPT)         \
                    f(dom, "dom.js", SCRIPT)
#define SCRIPT "text/javascript; charset=utf-8"

#define TAKE_IN(symbol, name, type)                                                                          \
    __asm__(".pushsection .rodata\n"                                                                         \
            "web_" #symbol "_begin:\n"                                                                       \
            ".incbin \"" REEL_WEB_FOLDER "/" name "\"\n"                                                     \
            "web_" #symbol "_end:\n"                                                                         \
            ".byte 0\n"                                                                                      \
            ".popsection\n");                                                                                \
    extern const unsigned char web_##symbol##_begin[], web_##symbol##_end[];
FILES(TAKE_IN)

#define ROW(symbol, name, type) {name, type, web_##symbol##_begin, web_##symbol##_end},
const struct web_file web_files[] = {FILES(ROW)};
const size_t web_file_count = ARRAY_SIZE(web_files);
