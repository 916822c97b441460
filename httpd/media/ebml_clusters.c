/*
 * ebml_clusters: an element is looked at when the whole of it is there, but for clusters, which are gone into.
 */
#include "httpd/media/ebml_clusters.h"
#include <inttypes.h>

#define ID_CLUSTER   0x1f43b675
#define ID_TIMESTAMP 0xe7
#define ID_SIMPLE    0xa3
#define ID_GROUP     0xa0
#define ID_INNER     0xa1
#define ID_REFERENCE 0xfb
#define ID_DURATION  0x9b

#define TIME_MAX (INT64_C(1) << 52)

void ebml_clusters_open(struct ebml_clusters *clusters, int64_t at, int64_t end, bool open_end)
{
    *clusters = (struct ebml_clusters){
        .at = at, .end = end, .open_end = open_end, .cluster_end = INT64_MAX, .time = -1};
}

static enum ebml_step broken(const struct ebml_clusters *clusters, struct error *error)
{
    (void)error_set(error, ERROR_MALFORMED, "a cluster of it is damaged at byte %" PRId64, clusters->at);
    return EBML_BROKEN;
}

/* What cannot be in a cluster, so that one whose length is not said ends before it. */
static bool is_top_level(uint32_t id)
{
    return id == ID_CLUSTER || id == 0x1c53bb6b || id == 0x1254c367 || id == 0x1941a469 || id == 0x114d9b74 ||
           id == 0x1549a966 || id == 0x1654ae6b || id == 0x1043a770;
}

/* ---- laces, RFC 9559 section 5.1.4.5.4 ---- */

static bool clusters_add_frame(struct ebml_block *block, struct media_view *rest, uint64_t size)
{
    if (size > rest->size)
        return false;
    block->frames[block->count++] = media_view_part(*rest, 0, (size_t)size);
    *rest = media_view_from(*rest, (size_t)size);
    return true;
}

static bool xiph_sizes(struct media_view *rest, uint64_t *sizes, size_t count)
{
    for (size_t i = 0; i + 1 < count; i++) {
        uint8_t byte;
        sizes[i] = 0;
        do {
            if (rest->size == 0)
                return false;
            byte = rest->bytes[0];
            sizes[i] += byte;
            *rest = media_view_from(*rest, 1);
        } while (byte == 255);
    }
    return true;
}

static bool ebml_sizes(struct media_view *rest, uint64_t *sizes, size_t count)
{
    for (size_t i = 0; i + 1 < count; i++) {
        size_t used;
        uint64_t value;
        if (!ebml_vint(*rest, &value, &used))
            return false;
        *rest = media_view_from(*rest, used);
        int64_t before = i > 0 ? (int64_t)sizes[i - 1] : 0;
        int64_t difference = (int64_t)value - (i > 0 ? (INT64_C(1) << (7 * used - 1)) - 1 : 0);
        if (before + difference < 0 || before + difference > EBML_BLOCK_MAX)
            return false;
        sizes[i] = (uint64_t)(before + difference);
    }
    return true;
}

static bool read_laced(struct media_view rest, int lacing, struct ebml_block *block)
{
    uint64_t sizes[EBML_FRAMES_MAX];
    size_t count = (size_t)media_get8(rest, 0) + 1;
    if (rest.size == 0)
        return false;
    rest = media_view_from(rest, 1);
    if (lacing == 2) {
        if (rest.size % count != 0)
            return false;
        for (size_t i = 0; i < count; i++)
            sizes[i] = rest.size / count;
    } else if (!(lacing == 1 ? xiph_sizes(&rest, sizes, count) : ebml_sizes(&rest, sizes, count))) {
        return false;
    }
    for (size_t i = 0; i + 1 < count; i++) {
        if (!clusters_add_frame(block, &rest, sizes[i]))
            return false;
    }
    return clusters_add_frame(block, &rest, rest.size);
}

/* BODY: of a SimpleBlock or Block. */
static bool read_block(const struct ebml_clusters *clusters, struct media_view body, struct ebml_block *block)
{
    size_t used;
    block->count = 0;
    block->duration = -1;
    if (!ebml_vint(body, &block->track, &used) || !media_view_has(body, used, 3) || clusters->time < 0)
        return false;
    block->time = clusters->time + (int16_t)media_get16(body, used);
    uint8_t flags = media_get8(body, used + 2);
    block->key = (flags & 0x80) != 0;
    struct media_view rest = media_view_from(body, used + 3);
    int lacing = flags >> 1 & 3;
    if (lacing != 0)
        return read_laced(rest, lacing, block);
    return clusters_add_frame(block, &rest, rest.size);
}

static bool read_group(const struct ebml_clusters *clusters, struct media_view group,
                       struct ebml_block *block)
{
    struct ebml_element inner, reference;
    if (!ebml_find(group, ID_INNER, &inner) || !read_block(clusters, inner.body, block))
        return false;
    block->key = !ebml_find(group, ID_REFERENCE, &reference);
    if (ebml_find(group, ID_DURATION, &inner)) {
        uint64_t duration = ebml_unsigned(inner.body, UINT64_MAX);
        block->duration = duration < (uint64_t)TIME_MAX ? (int64_t)duration : -1;
    }
    return true;
}

/* ---- elements ---- */

static void leave(struct ebml_clusters *clusters)
{
    clusters->inside = false;
    clusters->cluster_end = INT64_MAX;
    clusters->time = -1;
}

static bool enter(struct ebml_clusters *clusters, const struct ebml_element *element)
{
    int64_t begin = clusters->at + (int64_t)element->header;
    bool longer = !element->unknown && (int64_t)element->size > clusters->end - begin;
    if (longer && !clusters->open_end)
        return false;
    leave(clusters);
    clusters->inside = true;
    clusters->cluster = clusters->at;
    clusters->cluster_end = element->unknown || longer ? INT64_MAX : begin + (int64_t)element->size;
    clusters->at = begin;
    return true;
}

static bool holds_what_is_wanted(const struct ebml_clusters *clusters, uint32_t id)
{
    return clusters->inside && (id == ID_TIMESTAMP || id == ID_SIMPLE || id == ID_GROUP);
}

/* The body of an element of a cluster is there. 1: BLOCK is filled; 0: go on; -1: damaged. */
static int take_element(struct ebml_clusters *clusters, const struct ebml_element *element,
                        struct ebml_block *block)
{
    if (element->id == ID_TIMESTAMP) {
        uint64_t time = ebml_unsigned(element->body, UINT64_MAX);
        clusters->time = time < (uint64_t)TIME_MAX ? (int64_t)time : -1;
        return clusters->time >= 0 ? 0 : -1;
    }
    block->at = clusters->at;
    bool read = element->id == ID_SIMPLE ? read_block(clusters, element->body, block)
                                         : read_group(clusters, element->body, block);
    return read ? 1 : -1;
}

enum ebml_step ebml_clusters_next(struct ebml_clusters *clusters, struct media_view bytes, int64_t base,
                                  struct ebml_block *block, int64_t *wanted, struct error *error)
{
    struct ebml_element element;
    for (;;) {
        int64_t limit = clusters->inside ? min_i64(clusters->cluster_end, clusters->end) : clusters->end;
        if (clusters->at >= limit) {
            if (!clusters->inside || clusters->at >= clusters->end)
                return EBML_END;
            leave(clusters);
            continue;
        }
        struct media_view here = {NULL, 0};
        if (clusters->at >= base && clusters->at - base < (int64_t)bytes.size)
            here = media_view_from(bytes, (size_t)(clusters->at - base));
        here = media_view_part(here, 0, (size_t)min_i64(limit - clusters->at, INT64_MAX));
        enum ebml_look look = ebml_look(here, &element);
        *wanted = min_i64(EBML_HEADER_MAX, limit - clusters->at);
        if (look == EBML_SHORT && (int64_t)here.size < *wanted)
            return EBML_MORE;
        if (look == EBML_SHORT && clusters->open_end && limit == clusters->end)
            return EBML_END;
        if (look != EBML_FOUND)
            return broken(clusters, error);
        if (clusters->inside && is_top_level(element.id)) {
            if (clusters->cluster_end != INT64_MAX)
                return broken(clusters, error);
            leave(clusters);
        }
        if (!clusters->inside && element.id == ID_CLUSTER) {
            if (!enter(clusters, &element))
                return broken(clusters, error);
            continue;
        }
        int64_t whole = (int64_t)element.header + (int64_t)element.size;
        if (clusters->open_end && !element.unknown && whole > clusters->end - clusters->at)
            return EBML_END; /* its recording ended in the middle of it */
        bool wanted_whole = holds_what_is_wanted(clusters, element.id);
        if (element.unknown || whole > limit - clusters->at || (wanted_whole && whole > EBML_BLOCK_MAX))
            return broken(clusters, error);
        *wanted = whole;
        if (wanted_whole && element.body.size < element.size)
            return EBML_MORE;
        int taken = wanted_whole ? take_element(clusters, &element, block) : 0;
        if (taken < 0)
            return broken(clusters, error);
        clusters->at += whole;
        if (taken > 0)
            return EBML_BLOCK;
    }
}
