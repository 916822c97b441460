# Writes OUT: `static const struct schema_scripts NAME_schema` from the scripts under SQL, as arrays of character codes.
# A script that is not there becomes an empty text.
set(text "/* Made from sql/ at build time. */
#ifndef REEL_SQL_${NAME}
#define REEL_SQL_${NAME}
#include \"common/db/schema.h\"
")
foreach(backend sqlite mysql)
  foreach(ending "" "-upgrade")
    set(bytes "")
    if(EXISTS ${SQL}/${backend}/${NAME}${ending}.sql)
      file(READ ${SQL}/${backend}/${NAME}${ending}.sql hex HEX)
      string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
    endif()
    string(REPLACE "-" "_" variable "${NAME}_${backend}${ending}_script")
    string(APPEND text "static const char ${variable}[] = {${bytes}0};\n")
    string(APPEND members "    .${backend}${ending} = ${variable},\n")
  endforeach()
endforeach()
string(REPLACE "-upgrade" "_upgrade" members "${members}")
file(WRITE ${OUT} "${text}static const struct schema_scripts ${NAME}_schema = {
    .name = \"${NAME}\",
${members}};
#endif
")
