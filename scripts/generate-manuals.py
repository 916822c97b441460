#!/usr/bin/env python3
"""Writes the manual pages and completions from the tables of options and commands inside the programs.

scripts/generate-manuals.py [--check] [BIN_DIR]     (default: build/release/bin)

docs/man/*.{1,5,8} and conf/completions/ are made of what `--help-json` prints, and of the tables of exit codes and
environment variables in docs/reel.md. With --check nothing is written, and the exit code is 1 where a file differs from what the
programs say. Called by scripts/generate-docs.sh.
"""
import json, re, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
arguments = sys.argv[1:]
check = "--check" in arguments
bin_dir = Path(([a for a in arguments if a != "--check"] or [ROOT / "build/release/bin"])[0])
DAEMONS = ("tracker", "idserver", "storage", "httpd")
files = {}


def described(program):
    return json.loads(subprocess.check_output([bin_dir / program, "--help-json"], text=True))


# ---- manual pages ----

def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("'", "\\(aq")
    return "\n".join("\\&" + line if line.startswith(".") else line for line in text.splitlines())


def bold(text):
    return f"\\fB{roff(text)}\\fR"


def italic(text):
    return f"\\fI{roff(text)}\\fR"


def head(name, section, version, summary):
    return [f'.TH "{roff(name.upper())}" {section} "" "Reelstore {version}" "Reelstore"', ".SH NAME",
            f"{roff(name)} \\- {roff(summary)}"]


def page(name, section, lines):
    files[f"docs/man/{name}.{section}"] = '.\\" Written by scripts/generate-manuals.py.\n' + "\n".join(lines) + "\n"


def sentence(text):
    return text if text.endswith(".") else text + "."


def option_line(option):
    names = ([bold("-" + option["letter"])] if option["letter"] else []) + [bold("--" + option["name"])]
    return ", ".join(names) + (" " + italic(option["argument"]) if option["argument"] else "")


def option_list(options):
    lines = []
    for option in options:
        lines += [".TP", option_line(option), roff(sentence(option["help"][0].upper() + option["help"][1:]))]
    return lines


def settings_list(settings):
    lines, section = [], None
    for option in settings:
        if option["section"] != section:
            section = option["section"]
            lines += [f".SS [{roff(section)}]"]
        default = "must be given" if option["default"] is None else \
            "default: " + (option["default"] if option["default"] != "" else "empty")
        about = f"({option['type']}; {default}" + ("; reloadable)" if option["reload"] else ")")
        lines += [".TP", bold(option["name"]) + " " + roff(about), roff(sentence(option["help"]))]
    return lines


def see_also(*pages):
    return [".SH SEE ALSO", ",\n".join(f".BR {roff(name)} ({section})" for name, section in pages),
            ".PP", "/usr/share/doc/reelstore/docs: deployment, operations, every option, the protocol."]


def daemon_pages(name):
    about = described("reel-" + name)
    program, summary, version = "reel-" + name, about["summary"], about["version"]
    lines = head(program, 8, version, summary)
    lines += [".SH SYNOPSIS", f"{bold(program)} [{bold('-c')} {italic('FILE')}] [{bold('-o')} {italic('SECTION.NAME=VALUE')}]... [{bold('-d')}]",
              ".SH DESCRIPTION", roff(f"{program} is a daemon of Reelstore, which stores media files across machines and streams them over HTTP: it {summary}."),
              f"It reads {italic(about['file'])}, stays in the foreground unless started with -d, and reports to systemd when it is ready.",
              f"Under systemd it is {bold(program + '.service')}.", ".SH OPTIONS"]
    lines += option_list(about["command_line"])
    lines += [".SH SIGNALS", ".TP", bold("SIGTERM") + ", " + bold("SIGINT"), "Finish the requests under way, and end; a second one ends at once.",
              ".TP", bold("SIGHUP"), "Reload the configuration and reopen the log files.", ".TP", bold("SIGUSR1"), "Reopen the log files.",
              ".SH EXIT STATUS", ".TP", "0", "Fine.", ".TP", "1", "It could not start, or failed.", ".TP", "2", "Wrong command line or configuration.",
              ".SH FILES", ".TP", italic(about["file"]), f"The configuration: {bold(program + '.conf')}(5).",
              ".TP", italic(f"/usr/share/doc/reelstore/examples/{name}.conf"), "An example with every option and its default.",
              ".TP", italic("/var/lib/reelstore"), "SQLite databases, and the store path of the installed configuration."]
    lines += see_also((program + ".conf", 5), ("reel", 1), *[("reel-" + other, 8) for other in DAEMONS if other != name])
    page(program, 8, lines)

    lines = head(program + ".conf", 5, version, f"configuration of {program}")
    lines += [".SH SYNOPSIS", italic(about["file"]), ".SH DESCRIPTION",
              roff("Lines are \"[section]\", \"name = value\", empty, or a comment that begins with # or ;. An option stands once. "
                   "Sizes are bytes or have K, M, G, T behind them (powers of 1024), durations ms, s, m, h, d; lists are separated by commas."),
              ".PP", f"{bold(program + ' --check-config')} checks a file, {bold('--print-config')} prints every option with its value, and",
              f"{bold('systemctl reload ' + program)} takes over those that are marked as reloadable.", ".SH OPTIONS"]
    lines += settings_list(about["options"])
    lines += see_also((program, 8), ("systemd.exec", 5))
    page(program + ".conf", 5, lines)


def poster_page():
    """reel-poster reads no configuration, and is not built where FFmpeg's libraries are missing: its page is written here."""
    lines = head("reel-poster", 8, described("reel-httpd")["version"], "makes posters and storyboards of films for reel-httpd")
    lines += [".SH SYNOPSIS", f"{bold('reel-poster')} [{bold('--socket')} {italic('PATH')}] [{bold('--jobs')} {italic('N')}]", ".SH DESCRIPTION",
              roff("reel-poster decodes key frames with the libraries of FFmpeg and answers with a JPEG picture. reel-httpd hands it the bytes over a "
                   "local socket; it opens no file and has no network. Each request is answered by a process of its own, which first gives up every "
                   "system call but those that allocate memory, read and write the connection, and end it (seccomp), and has 768 MiB of memory, five "
                   "seconds of processor time and eight seconds in all."),
              ".PP", f"Under systemd it is started by {bold('reel-poster.socket')} when the first picture is asked for.", ".SH OPTIONS",
              ".TP", bold("--socket") + " " + italic("PATH"), "Listen at PATH, which its group may connect to; without it, on the socket that systemd hands over.",
              ".TP", bold("--jobs") + " " + italic("N"), "Pictures made at the same time, from 1 to 1024 (default: one per core). Further requests wait.",
              ".TP", bold("--version"), "Print the version.", ".TP", bold("--help"), "Print a summary of the options.",
              ".SH EXIT STATUS", ".TP", "0", "Fine.", ".TP", "1", "It could not listen.", ".TP", "2", "Wrong command line.",
              ".SH FILES", ".TP", italic("/run/reelstore-poster/socket"), f"The socket, which {bold('poster_socket')} of reel\\-httpd.conf(5) names."]
    lines += see_also(("reel-httpd", 8), ("reel-httpd.conf", 5))
    page("reel-poster", 8, lines)


def table(page_text, heading, columns):
    """The rows of the first table behind HEADING, as tuples of COLUMNS cells."""
    rows = []
    for line in page_text[page_text.index(heading):].splitlines()[1:]:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == columns and not set(line) <= set("|- "):
            rows.append(tuple(re.sub(r"[`]", "", cell) for cell in cells))
        elif rows:
            break
    return rows[1:]


def reel_pages():
    about, manual = described("reel"), (ROOT / "docs/reel.md").read_text()
    by_name = {option["name"]: option for option in about["options"]}
    lines = head("reel", 1, about["version"], "stores, fetches and manages media files")
    lines += [".SH SYNOPSIS", f"{bold('reel')} {italic('COMMAND')} [{italic('OPTIONS')}] {italic('ARGUMENTS')}", ".SH DESCRIPTION",
              "reel is the command of Reelstore, which stores media files across machines and streams them over HTTP.",
              "Options stand anywhere behind it, written out in full; a lone \\fB\\-\\-\\fR ends them.",
              f"{bold('reel COMMAND --help')} explains one command.", ".SH COMMANDS"]
    for command in about["commands"]:
        lines += [f".SS {bold('reel ' + command['name'])} " + italic(command["arguments"]), roff(command["help"])]
        lines += option_list(by_name[name] for name in command["options"])
    lines += [".SH OPTIONS OF ALL COMMANDS"] + option_list(option for option in about["options"] if option["common"])
    lines += [".SH ENVIRONMENT"]
    for option, variable, _setting, _default in table(manual, "## Settings", 4):
        if variable:
            lines += [".TP", bold(variable), "As " + roff(option.split(",")[-1].strip()) + "."]
    lines += [".TP", bold("REEL_CONFIG"), "The file of settings.", ".TP", bold("REEL_LOG"), "What the library reports on standard error: error, warning, info, debug.",
              ".TP", bold("NO_COLOR"), "No colours.", ".SH EXIT STATUS"]
    for code, meaning in table(manual, "## Exit codes", 2):
        lines += [".TP", code, roff(sentence(meaning[0].upper() + meaning[1:]))]
    lines += [".SH FILES", ".TP", italic("~/.config/reel.conf"), f"Settings: {bold('reel.conf')}(5).",
              ".TP", italic("/etc/reelstore/reel.conf"), "Settings of those who have no file of their own."]
    lines += see_also(("reel.conf", 5), *[("reel-" + name, 8) for name in DAEMONS])
    page("reel", 1, lines)

    lines = head("reel.conf", 5, about["version"], "settings of the command reel")
    lines += [".SH SYNOPSIS", f"{italic('~/.config/reel.conf')}, {italic('/etc/reelstore/reel.conf')}", ".SH DESCRIPTION",
              roff("Lines are \"[client]\", \"name = value\", empty, or a comment that begins with # or ;. The first of these files that is there counts; "
                   "the environment counts more than the file, and options of the command line count most."), ".SH SETTINGS"]
    lines += settings_list(about["settings"])
    lines += see_also(("reel", 1))
    page("reel.conf", 5, lines)


# ---- completions ----

WORDS = {"sort": ["id", "name", "size", "time", "files", "used"], "scope": ["file", "user", "prefix:"]}
PATHS = {"FILE", "PATH"}
# What follows a command, or one of these words, as the command's own help has it.
PARTS = {"admin": ["group", "quota"], "group": ["list", "add", "drain", "open", "weight", "remove", "rebalance"],
         "auth": ["new-key", "token", "verify", "whoami", "audit-verify"]}
OF_FILES = ["upload", "download"]  # commands whose arguments are files here


def quoted(text):
    return "'" + text.replace("'", "'\\''") + "'"


def check_parts(about):
    """Nothing is completed that the command's help does not name, nor the other way round."""
    help = {command["name"]: command["help"] for command in about["commands"]}
    named = {"admin": re.findall(r"(?:^|; )([a-z]+)\b", help["admin"]), "group": re.findall(r"(?:group |\|)([a-z]+)", help["admin"]),
            "auth": re.findall(r"(?:^|, )([a-z-]+) (?:[A-Z]|makes|reads|asks)", help["auth"])}
    for word, parts in PARTS.items():
        if sorted(set(named[word])) != sorted(parts):
            sys.exit(f"generate-manuals.py: PARTS of {word}: {parts}, but the help of the command names {named[word]}")


def spellings(option):
    return (["-" + option["letter"]] if option["letter"] else []) + ["--" + option["name"]]


def bash(about):
    by_name = {option["name"]: option for option in about["options"]}
    common = [option for option in about["options"] if option["common"]]

    def words(options):
        return " ".join(word for option in options for word in spellings(option))

    def those(test):
        return "|".join(word for option in about["options"] if option["argument"] and test(option) for word in spellings(option))
    lines = ["# Completion of reel in bash. Written by scripts/generate-manuals.py.",
             "_reel() {", "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command= options i",
             "    # \"--name=value\" comes as three words.", "    if [[ $word = = ]]; then word=; elif [[ $before = = ]]; then before=${COMP_WORDS[COMP_CWORD-2]}; fi",
             "    COMPREPLY=()", "    case $before in",
             f"        {those(lambda o: o['argument'] in PATHS)}) compopt -o filenames; local IFS=$'\\n'; COMPREPLY=($(compgen -f -- \"$word\")); return ;;",
             f"        {those(lambda o: o['argument'] == 'DIR')}) compopt -o filenames; local IFS=$'\\n'; COMPREPLY=($(compgen -d -- \"$word\")); return ;;"]
    for name, values in WORDS.items():
        lines += [f"        --{name}) COMPREPLY=($(compgen -W \"{' '.join(values)}\" -- \"$word\")); return ;;"]
    lines += [f"        {those(lambda o: o['argument'] not in PATHS | {'DIR'} and o['name'] not in WORDS)}) return ;;", "    esac",
              "    for ((i = 1; i < COMP_CWORD; i++)); do", "        case ${COMP_WORDS[i]} in",
              f"            {those(lambda o: True)}) [[ ${{COMP_WORDS[i+1]}} != = ]] || i=$((i + 1)); i=$((i + 1)) ;;", "            -*) ;;",
              "            *) command=${COMP_WORDS[i]}; break ;;", "        esac", "    done", "    case $command in",
              f"        '') options=\"{words(common)}\"",
              f"            [[ $word = -* ]] || options=\"{' '.join(c['name'] for c in about['commands'])}\" ;;"]
    for command in about["commands"]:
        lines += [f"        {command['name']}) options=\"{words([by_name[n] for n in command['options']] + common)}\" ;;"]
    lines += ["        *) return ;;", "    esac", "    if [[ $word = -* || -z $command ]]; then",
              "        COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))",
              f"    elif [[ $command = {' || $command = '.join(OF_FILES)} ]]; then",
              "        compopt -o filenames", "        local IFS=$'\\n'", "        COMPREPLY=($(compgen -f -- \"$word\"))",
              "    elif [[ $command = admin || $command = auth ]]; then", "        case $before in",
              *[f"            {word}) COMPREPLY=($(compgen -W \"{' '.join(parts)}\" -- \"$word\")) ;;" for word, parts in PARTS.items()],
              "        esac",
              "    fi", "}", "complete -F _reel reel"]
    files["conf/completions/reel.bash"] = "\n".join(lines) + "\n"


def zsh_action(option):
    if option["name"] in WORDS:
        return f":{option['argument']}:({' '.join(WORDS[option['name']])})"
    if option["argument"] in PATHS:
        return f":{option['argument']}:_files"
    if option["argument"] == "DIR":
        return f":{option['argument']}:_files -/"
    return f":{option['argument']}:" if option["argument"] else ""


def zsh(about):
    by_name = {option["name"]: option for option in about["options"]}

    def spec(option):
        help = re.sub(r"([\[\]:\\])", r"\\\1", option["help"])
        names = spellings(option)
        # "--name=": with the value in the same word too.
        marks = [name + ("=" if option["argument"] and name.startswith("--") else "") for name in names]
        first = f"({' '.join(names)})" if len(names) > 1 and option["name"] != "verbose" else ""
        many = "*" if option["name"] == "verbose" else ""
        return [quoted(f"{many}{first}{mark}[{help}]{zsh_action(option)}") for mark in marks]
    common = [s for option in about["options"] if option["common"] for s in spec(option)]
    lines = ["#compdef reel", "# Completion of reel in zsh. Written by scripts/generate-manuals.py.", "_reel() {",
             "    local curcontext=$curcontext state line", "    local -A opt_args", "    local -a common commands", "    common=(", *[f"        {s}" for s in common], "    )",
             "    commands=("]
    for command in about["commands"]:
        help = command["help"].replace(":", "\\:")
        lines += [f"        {quoted(command['name'] + ':' + help)}"]
    lines += ["    )", "    _arguments -C $common '1:command:->command' '*::argument:->argument'", "    case $state in",
              "        command) _describe command commands ;;", "        argument)", "            case $words[1] in"]
    for command in about["commands"]:
        own = [s for name in command["options"] for s in spec(by_name[name])]
        rest = "'*:file:_files'" if command["name"] in OF_FILES else \
            f"'1:what:({' '.join(PARTS['admin'])})' '2:action:->action' '*:group:'" if command["name"] == "admin" else \
            f"'1:part:({' '.join(PARTS['auth'])})' '*:argument:_files'" if command["name"] == "auth" else "'*:argument:'"
        lines += [f"                {command['name']}) _arguments $common \\", *[f"                    {s} \\" for s in own],
                  f"                    {rest} ;;"]
    lines += ["            esac ;;", "    esac",
              f"    [[ $state = action && $line[1] = group ]] && compadd -- {' '.join(PARTS['group'])}",
              "}", "_reel \"$@\""]
    files["conf/completions/_reel"] = "\n".join(lines) + "\n"


def fish(about):
    takers = "|".join(word for option in about["options"] if option["argument"] for word in spellings(option))
    lines = ["# Completion of reel in fish. Written by scripts/generate-manuals.py.", "",
             "# The words before the cursor that are neither options nor their values.",
             "function __reel_words", "    set -l words (commandline -opc)", "    set -e words[1]", "    while set -q words[1]", "        switch $words[1]",
             f"            case {takers.replace('|', ' ')}", "                set -e words[1]", "            case '-*'", "            case '*'",
             "                printf '%s\\n' $words[1]", "        end", "        set -e words[1]", "    end", "end", "",
             "function __reel_in -d 'The command is one of these'", "    set -l words (__reel_words)", "    set -q words[1]; and contains -- $words[1] $argv",
             "end", "", "function __reel_after -d 'Exactly these words came before'", "    set -l words (__reel_words)",
             "    test \"$words\" = \"$argv\"", "end", "",
             "complete -c reel -f"]
    for command in about["commands"]:
        lines += [f"complete -c reel -n __reel_after -a {command['name']} -d {quoted(command['help'])}"]
    for option in about["options"]:
        line = "complete -c reel"
        if not option["common"]:
            takers = [c["name"] for c in about["commands"] if option["name"] in c["options"]]
            line += f" -n '__reel_in {' '.join(takers)}'"
        line += (f" -s {option['letter']}" if option["letter"] else "") + f" -l {option['name']}"
        if option["name"] in WORDS:
            line += f" -x -a '{' '.join(WORDS[option['name']])}'"
        elif option["argument"] in PATHS:
            line += " -r -F"
        elif option["argument"] == "DIR":
            line += " -x -a '(__fish_complete_directories)'"
        elif option["argument"]:
            line += " -x"
        lines += [line + f" -d {quoted(option['help'])}"]
    lines += [f"complete -c reel -n '__reel_in {' '.join(OF_FILES)}' -F"]
    for word, parts in PARTS.items():
        path = "admin group" if word == "group" else word
        lines += [f"complete -c reel -n '__reel_after {path}' -a '{' '.join(parts)}'"]
    files["conf/completions/reel.fish"] = "\n".join(lines) + "\n"


for daemon in DAEMONS:
    daemon_pages(daemon)
poster_page()
reel_pages()
reel = described("reel")
check_parts(reel)
bash(reel)
zsh(reel)
fish(reel)
differ = [name for name, text in files.items() if not (ROOT / name).exists() or (ROOT / name).read_text() != text]
stale = [str(path.relative_to(ROOT)) for folder in ("docs/man", "conf/completions") for path in (ROOT / folder).glob("*")
         if str(path.relative_to(ROOT)) not in files]
if check:
    for name in differ + stale:
        print(f"generate-manuals.py: {name} is not what the programs say; run scripts/generate-docs.sh", file=sys.stderr)
    sys.exit(bool(differ + stale))
for name in differ:
    (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
    (ROOT / name).write_text(files[name])
for name in stale:
    (ROOT / name).unlink()
