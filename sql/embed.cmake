# Writes OUT: `static const struct schema_scripts NAME_schema` from the two scripts, as arrays of character codes.
function(embed file variable)
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  set(${variable} "${bytes}0" PARENT_SCOPE)
endfunction()
embed(${SQLITE} sqlite)
embed(${MYSQL} mysql)
file(WRITE ${OUT} "/* Made from sql/ at build time. */
#include \"common/schema.h\"
static const char ${NAME}_sqlite_script[] = {${sqlite}};
static const char ${NAME}_mysql_script[] = {${mysql}};
static const struct schema_scripts ${NAME}_schema = {\"${NAME}\", ${NAME}_sqlite_script, ${NAME}_mysql_script};
")
