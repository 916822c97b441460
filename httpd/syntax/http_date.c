/*
 * http_date: the one form that is written and the three that are read (RFC 9110 section 5.6.7).
 */
#include "httpd/syntax/http_date.h"
#include <stdio.h>
#include <string.h>

static const char *const month_names[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
static const char *const day_names[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char *const long_day_names[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                             "Thursday", "Friday", "Saturday"};

#define SECONDS_A_DAY 86400
#define FIRST_SECOND  INT64_C(-62135596800) /* 0001-01-01 00:00:00 */
#define LAST_SECOND   INT64_C(253402300799) /* 9999-12-31 23:59:59 */

/* Days since the epoch of a civil date; eras of 400 years that begin in March, so that the leap day comes
 * last. */
static int64_t days_from_civil(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

void http_date_to_calendar(int64_t seconds, struct http_calendar *calendar)
{
    int64_t days = seconds / SECONDS_A_DAY;
    int64_t rest = seconds % SECONDS_A_DAY;
    if (rest < 0) {
        rest += SECONDS_A_DAY;
        days--;
    }
    calendar->hour = (int)(rest / 3600);
    calendar->minute = (int)(rest / 60 % 60);
    calendar->second = (int)(rest % 60);
    calendar->weekday = (int)(((days + 4) % 7 + 7) % 7); /* 1970-01-01 was a Thursday */

    int64_t shifted = days + 719468;
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t day_of_era = shifted - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_from_march = (5 * day_of_year + 2) / 153;
    calendar->day = (int)(day_of_year - (153 * month_from_march + 2) / 5 + 1);
    calendar->month = (int)(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
    calendar->year = year_of_era + era * 400 + (calendar->month <= 2);
}

const char *http_date_month_name(int month)
{
    return month_names[(month - 1) % 12];
}

char *http_date_format(int64_t seconds, char buffer[HTTP_DATE_SIZE])
{
    struct http_calendar c;
    http_date_to_calendar(max_i64(FIRST_SECOND, min_i64(seconds, LAST_SECOND)), &c);
    snprintf(buffer, HTTP_DATE_SIZE, "%s, %02u %s %04u %02u:%02u:%02u GMT", day_names[c.weekday],
             (unsigned)c.day % 100, month_names[c.month - 1], (unsigned)c.year % 10000,
             (unsigned)c.hour % 100, (unsigned)c.minute % 100, (unsigned)c.second % 100);
    return buffer;
}

/* A cursor over the text: each take_ function moves on when it finds what it wants. */
struct cursor {
    const char *at;
    const char *end;
};

static bool date_take_literal(struct cursor *cursor, const char *literal)
{
    size_t size = strlen(literal);
    if ((size_t)(cursor->end - cursor->at) < size || memcmp(cursor->at, literal, size) != 0)
        return false;
    cursor->at += size;
    return true;
}

static bool take_digits(struct cursor *cursor, int count, int *value)
{
    int result = 0;
    if (cursor->end - cursor->at < count)
        return false;
    for (int i = 0; i < count; i++) {
        char c = cursor->at[i];
        if (c < '0' || c > '9')
            return false;
        result = result * 10 + (c - '0');
    }
    cursor->at += count;
    *value = result;
    return true;
}

static bool date_take_name(struct cursor *cursor, const char *const *names, size_t count, int *index)
{
    for (size_t i = 0; i < count; i++) {
        if (date_take_literal(cursor, names[i])) {
            *index = (int)i;
            return true;
        }
    }
    return false;
}

static bool http_date_take_time(struct cursor *cursor, struct http_calendar *c)
{
    return take_digits(cursor, 2, &c->hour) && date_take_literal(cursor, ":") &&
           take_digits(cursor, 2, &c->minute) && date_take_literal(cursor, ":") &&
           take_digits(cursor, 2, &c->second);
}

static bool take_month(struct cursor *cursor, struct http_calendar *c)
{
    int index;
    if (!date_take_name(cursor, month_names, ARRAY_SIZE(month_names), &index))
        return false;
    c->month = index + 1;
    return true;
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
static bool parse_imf_fixdate(struct cursor cursor, struct http_calendar *c)
{
    int year;
    bool ok = date_take_name(&cursor, day_names, ARRAY_SIZE(day_names), &c->weekday) &&
              date_take_literal(&cursor, ", ") && take_digits(&cursor, 2, &c->day) &&
              date_take_literal(&cursor, " ") && take_month(&cursor, c) && date_take_literal(&cursor, " ") &&
              take_digits(&cursor, 4, &year) && date_take_literal(&cursor, " ") &&
              http_date_take_time(&cursor, c) && date_take_literal(&cursor, " GMT") &&
              cursor.at == cursor.end;
    if (ok)
        c->year = year;
    return ok;
}

/* "Sunday, 06-Nov-94 08:49:37 GMT" */
static bool parse_rfc850(struct cursor cursor, int64_t now, struct http_calendar *c)
{
    int year;
    bool ok = date_take_name(&cursor, long_day_names, ARRAY_SIZE(long_day_names), &c->weekday) &&
              date_take_literal(&cursor, ", ") && take_digits(&cursor, 2, &c->day) &&
              date_take_literal(&cursor, "-") && take_month(&cursor, c) && date_take_literal(&cursor, "-") &&
              take_digits(&cursor, 2, &year) && date_take_literal(&cursor, " ") &&
              http_date_take_time(&cursor, c) && date_take_literal(&cursor, " GMT") &&
              cursor.at == cursor.end;
    if (!ok)
        return false;
    struct http_calendar today;
    http_date_to_calendar(now, &today);
    c->year = today.year - today.year % 100 + year;
    if (c->year > today.year + 50)
        c->year -= 100;
    return true;
}

/* "Sun Nov  6 08:49:37 1994" */
static bool parse_asctime(struct cursor cursor, struct http_calendar *c)
{
    int year;
    bool ok = date_take_name(&cursor, day_names, ARRAY_SIZE(day_names), &c->weekday) &&
              date_take_literal(&cursor, " ") && take_month(&cursor, c) && date_take_literal(&cursor, " ");
    if (!ok)
        return false;
    ok =
        date_take_literal(&cursor, " ") ? take_digits(&cursor, 1, &c->day) : take_digits(&cursor, 2, &c->day);
    ok = ok && date_take_literal(&cursor, " ") && http_date_take_time(&cursor, c) &&
         date_take_literal(&cursor, " ") && take_digits(&cursor, 4, &year) && cursor.at == cursor.end;
    if (ok)
        c->year = year;
    return ok;
}

static int days_in_month(int64_t year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

bool http_date_parse(struct http_text text, int64_t now, int64_t *seconds)
{
    struct http_calendar c = {0};
    text = http_text_trim(text);
    if (text.size == 0)
        return false;
    struct cursor cursor = {text.bytes, text.bytes + text.size};
    if (!parse_imf_fixdate(cursor, &c) && !parse_rfc850(cursor, now, &c) && !parse_asctime(cursor, &c))
        return false;
    /* Second 60 is a leap second, which the grammar allows. */
    if (c.year < 1 || c.day < 1 || c.day > days_in_month(c.year, c.month) || c.hour > 23 || c.minute > 59 ||
        c.second > 60)
        return false;
    *seconds =
        days_from_civil(c.year, c.month, c.day) * SECONDS_A_DAY + c.hour * 3600 + c.minute * 60 + c.second;
    return true;
}
