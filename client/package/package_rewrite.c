/*
 * package_rewrite: copies a text around its replacements.
 */
#include "client/package/package_rewrite.h"

#include "common/base/log.h"

#include <stdlib.h>

bool package_edit_begin(struct package_edit *edit, const char *text, size_t size, struct error *error)
{
    *edit = (struct package_edit){.text = text, .size = size};
    edit->to = open_memstream(&edit->result, &edit->result_size);
    return edit->to != NULL || error_set(error, ERROR_UNAVAILABLE, "no memory for a playlist");
}

void package_edit_replace(struct package_edit *edit, size_t offset, size_t size, const char *replacement)
{
    ASSERT(offset >= edit->done && offset <= edit->size && size <= edit->size - offset);
    (void)fwrite(edit->text + edit->done, 1, offset - edit->done, edit->to);
    (void)fputs(replacement, edit->to);
    edit->done = offset + size;
}

char *package_edit_end(struct package_edit *edit, bool good, size_t *size, struct error *error)
{
    if (good)
        (void)fwrite(edit->text + edit->done, 1, edit->size - edit->done, edit->to);
    bool whole = ferror(edit->to) == 0;
    if (fclose(edit->to) == 0 && good && whole) {
        *size = edit->result_size;
        return edit->result;
    }
    free(edit->result);
    if (good)
        (void)error_set(error, ERROR_UNAVAILABLE, "no memory for a playlist");
    return NULL;
}

int package_line(const char *text, size_t offset)
{
    int line = 1;

    for (size_t i = 0; i < offset; i++)
        line += text[i] == '\n' ? 1 : 0;
    return line;
}
