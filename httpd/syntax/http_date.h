/*
 * http_date: the dates of HTTP (RFC 9110 section 5.6.7), without the C library's locale or time zone. Pure.
 */
#ifndef REEL_HTTPD_HTTP_DATE_H
#define REEL_HTTPD_HTTP_DATE_H

#include "httpd/syntax/http_text.h"

#define HTTP_DATE_SIZE 30 /* "Sun, 06 Nov 1994 08:49:37 GMT" and its NUL */

/* IMF-fixdate. SECONDS since the epoch, years 1 to 9999; outside, the nearest of them. Returns BUFFER. */
char *http_date_format(int64_t seconds, char buffer[HTTP_DATE_SIZE]);

/* All three forms a recipient must take: IMF-fixdate, RFC 850 and asctime. A two-digit year that would be
 * more than 50 years after NOW (seconds since the epoch) is of the past century. False for anything else, and
 * for days or hours that do not exist. */
MUST_CHECK bool http_date_parse(struct http_text text, int64_t now, int64_t *seconds);

/* Calendar date of days since the epoch, and back (proleptic Gregorian). For logs in local formats. */
struct http_calendar {
    int64_t year;
    int month; /* 1..12 */
    int day;   /* 1..31 */
    int hour, minute, second;
    int weekday; /* 0 is Sunday */
};
void http_date_to_calendar(int64_t seconds, struct http_calendar *calendar);
const char *http_date_month_name(int month);

#endif
