/*
 * stream_finish: the end of a request, its share of the budget of memory, and bytes that are read for it.
 */
#include "httpd/stream/stream_state.h"

void stream_charge_nothing(struct stream_request *request)
{
    http_budget_change(request->options.streams->http->budget, request->charged, 0);
    request->charged = 0;
}

void stream_finish(struct stream_request *request, enum stream_outcome outcome)
{
    stream_charge_nothing(request);
    request->result.outcome = outcome;
    request->ready = true;
    if (request->started)
        request->options.wake(request->options.argument);
}

void stream_finish_error(struct stream_request *request, const struct error *error)
{
    request->result.error = *error;
    if (media_cache_is_refusal(error->code))
        stream_finish(request, STREAM_REFUSED);
    else if (error->code == ERROR_NOT_FOUND || error->code == ERROR_DELETED)
        stream_finish(request, STREAM_ABSENT);
    else
        stream_finish(request, error->code == ERROR_EXHAUSTED ? STREAM_BUSY : STREAM_FAILED);
}

void stream_finish_failed(struct stream_request *request, int code, const char *text)
{
    struct error error;
    (void)error_set(&error, code, "%s", text);
    stream_finish_error(request, &error);
}

bool stream_charge(struct stream_request *request, size_t size)
{
    if (!http_budget_take(request->options.streams->http->budget, size)) {
        stream_finish_failed(
            request, ERROR_EXHAUSTED,
            "too many segments, clips and pictures are being put together (httpd.stream_memory)");
        return false;
    }
    request->charged = size;
    return true;
}

void stream_finish_body(struct stream_request *request, struct stream_body *body)
{
    if (!body) {
        stream_finish_failed(request, ERROR_UNAVAILABLE, "no memory for an answer");
        return;
    }
    request->result.body = body;
    stream_finish(request, STREAM_BODY);
}

void stream_finish_charged(struct stream_request *request, struct stream_body *body)
{
    if (body && body->memory) {
        source_memory_charge(body->memory, request->options.streams->http->budget, request->charged);
        request->charged = 0;
    }
    stream_finish_body(request, body);
}

/* ---- bytes of the file ---- */

void stream_read(struct stream_request *request, const struct mp4_piece *pieces, size_t count, int64_t size,
                 media_read_callback callback)
{
    struct stream_loop *streams = request->options.streams;
    if (!stream_charge(request, 2 * (size_t)size)) /* they are copied once */
        return;
    request->read =
        media_read_start(streams->http, stream_own(request)->file, pieces, count, callback, request);
    if (!request->read)
        stream_finish_failed(request, ERROR_UNAVAILABLE, "no memory for reading a file");
}
