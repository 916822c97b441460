# Completion of reel in fish. Written by scripts/generate-manuals.py.

# The words before the cursor that are neither options nor their values.
function __reel_words
    set -l words (commandline -opc)
    set -e words[1]
    while set -q words[1]
        switch $words[1]
            case -t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time -j --parallel --files-from --name --type --file-id -o --output --into --offset --size --limit --sort --rights --prefix --since --expires --scope --network --to --rate --bytes --files --settle --interval
                set -e words[1]
            case '-*'
            case '*'
                printf '%s\n' $words[1]
        end
        set -e words[1]
    end
end

function __reel_in -d 'The command is one of these'
    set -l words (__reel_words)
    set -q words[1]; and contains -- $words[1] $argv
end

function __reel_after -d 'Exactly these words came before'
    set -l words (__reel_words)
    test "$words" = "$argv"
end

complete -c reel -f
complete -c reel -n __reel_after -a upload -d 'Uploads files (- for standard input) and prints the file ID of each; with --package a ready-made HLS or DASH stream, and prints its link.'
complete -c reel -n __reel_after -a download -d 'Downloads files: one to PATH or --output, else under their stored names, here or --into a directory.'
complete -c reel -n __reel_after -a size -d 'Prints the size in bytes.'
complete -c reel -n __reel_after -a stat -d 'Prints everything that is known about files.'
complete -c reel -n __reel_after -a delete -d 'Deletes files; restore brings them back until they are purged.'
complete -c reel -n __reel_after -a restore -d 'Brings deleted files back.'
complete -c reel -n __reel_after -a list -d 'Lists the user'\''s files, in the order of their IDs.'
complete -c reel -n __reel_after -a trash -d 'Lists the user'\''s deleted files that restore can bring back.'
complete -c reel -n __reel_after -a find -d 'Prints the IDs of files whose names match one of the GLOBs (*, ?, [a-z]; case counts).'
complete -c reel -n __reel_after -a du -d 'Prints how many files and bytes the user has, and how many in the trash.'
complete -c reel -n __reel_after -a rename -d 'Gives a file another name, under which it is listed and downloaded.'
complete -c reel -n __reel_after -a expire -d 'Changes when a file is deleted: 30d from now, 2026-11-28, or never; restore brings it back until it is purged.'
complete -c reel -n __reel_after -a cp -d 'Copies files to another user of yours (--to USER) and prints the file ID of each copy.'
complete -c reel -n __reel_after -a url -d 'Prints the HTTP links of files (--name adds a name, --sign a signature).'
complete -c reel -n __reel_after -a fsck -d 'Has every file of the group read back, waits, and prints what is wrong.'
complete -c reel -n __reel_after -a groups -d 'Prints the tracker'\''s table of groups and storage servers.'
complete -c reel -n __reel_after -a status -d 'Prints groups and storage servers with state, version and space; as JSON with --json.'
complete -c reel -n __reel_after -a top -d 'The same, live: redrawn every --interval until q is pressed; where the output is not a terminal, one table per interval.'
complete -c reel -n __reel_after -a doctor -d 'Checks the health of every part, and says what to do where something is wrong.'
complete -c reel -n __reel_after -a admin -d 'group list|add GROUP [WEIGHT]|drain GROUP [--empty]|open GROUP|weight GROUP WEIGHT|remove GROUP|rebalance; quota [USER [APPLICATION]] prints what users, or this one, have and may have, and changes it with --bytes and --files.'
complete -c reel -n __reel_after -a auth -d 'new-key ROLES ID [FROM [UNTIL]] [OPTION=VALUE...] makes a key (-o FILE adds it there), token makes a token for the user, verify reads one, whoami asks a tracker who we are, audit-verify FILE... checks audit logs.'
complete -c reel -s t -l trackers -x -d 'trackers, HOST:PORT separated by commas (REEL_TRACKERS)'
complete -c reel -s a -l application -x -d 'application ID (REEL_APPLICATION; default tnvideo)'
complete -c reel -s u -l user -x -d 'user ID (REEL_USER)'
complete -c reel -l idservers -x -d 'ID servers, for doctor (REEL_IDSERVERS)'
complete -c reel -l http -x -d 'HTTP server of links, e.g. http://media1:8080 (REEL_HTTP)'
complete -c reel -l tls-ca -r -F -d 'certificates that vouch for servers at tls:// (REEL_TLS_CA; default the system'\''s)'
complete -c reel -l connect-timeout -x -d 'how long connecting to one server may take (1s)'
complete -c reel -l timeout -x -d 'how long a server may take until its reply begins (10s)'
complete -c reel -l progress-timeout -x -d 'how long a transfer may stand still (30s)'
complete -c reel -l hedge-time -x -d 'time before the next tracker is asked too (300ms; 0: never)'
complete -c reel -l tries -x -d 'tries of a transfer, over all servers (10)'
complete -c reel -l config -r -F -d 'settings (REEL_CONFIG; default ~/.config/reel.conf, else /etc/reelstore/reel.conf)'
complete -c reel -l max-time -x -d 'give up after this time in total, e.g. 30s, 10m, 2h'
complete -c reel -l json -d 'one JSON object per line on standard output, errors too'
complete -c reel -s q -l quiet -d 'no progress bar, no remarks'
complete -c reel -s v -l verbose -d 'say more on standard error; -vv: everything'
complete -c reel -s y -l yes -d 'ask no questions'
complete -c reel -s h -l help -d 'this text; after a command: that command'\''s'
complete -c reel -l help-json -d 'all commands and options as JSON'
complete -c reel -l version -d 'the version'
complete -c reel -n '__reel_in upload download delete restore cp admin' -s n -l dry-run -d 'only say what would be done'
complete -c reel -n '__reel_in upload' -s r -l recursive -d 'the contents of directories too'
complete -c reel -n '__reel_in upload' -l package -d 'upload: FILE is a folder with a finished HLS or DASH stream (or the master playlist in it): stores all that it names, with links in place of URIs, and prints the link of the master playlist'
complete -c reel -n '__reel_in upload download admin' -s j -l parallel -x -d 'how many at the same time (1): files; of an upload pieces of a large file too, where files are fewer'
complete -c reel -n '__reel_in upload download size stat delete restore cp url' -l files-from -r -F -d 'more arguments, one per line (-: standard input)'
complete -c reel -n '__reel_in upload list trash cp url' -l name -x -d 'upload, cp, url: the name (default: the file'\''s); list, find: names like NAME (*, ?)'
complete -c reel -n '__reel_in upload' -l type -x -d 'content type (default: the server finds out)'
complete -c reel -n '__reel_in upload cp' -l file-id -x -d 'file ID (default: a new one)'
complete -c reel -n '__reel_in download auth' -s o -l output -r -F -d 'where to, for one file (-: standard output); what is there is replaced'
complete -c reel -n '__reel_in download' -l into -x -a '(__fish_complete_directories)' -d 'the directory that files go to, under their stored names'
complete -c reel -n '__reel_in upload download' -s c -l resume -d 'continue: an upload where it was interrupted; a download from PATH.part, else from PATH'
complete -c reel -n '__reel_in download' -l verify -d 'fail where no digest is stored (one that is stored is always compared)'
complete -c reel -n '__reel_in download' -l offset -x -d 'first byte of a part; to standard output only'
complete -c reel -n '__reel_in download' -l size -x -d 'bytes of a part; to standard output only'
complete -c reel -n '__reel_in list find' -l deleted -d 'the deleted files instead of the others'
complete -c reel -n '__reel_in list trash find top' -l limit -x -d 'at most this many'
complete -c reel -n '__reel_in list trash admin' -l sort -x -a 'id name size time files used' -d 'list: by id, name, size (largest first) or time (newest first); quota: name, size, files or used'
complete -c reel -n '__reel_in auth' -l rights -x -d 'of a token: r read, w write, d delete, l list (r)'
complete -c reel -n '__reel_in auth' -l prefix -x -d 'of a token: only for files whose IDs begin with it'
complete -c reel -n '__reel_in list trash find' -l since -x -d 'not older than this: 90s, 3h, 5d, or 2026-11-28[T12:00:00Z]'
complete -c reel -n '__reel_in list trash' -s l -l long -d 'content type and digest too'
complete -c reel -n '__reel_in url' -l sign -d 'sign the links with the issuer'\''s key of REEL_KEYS (ID@FILE or FILE)'
complete -c reel -n '__reel_in upload url auth' -l expires -x -d 'how long tokens and signed links are valid: 90s, 6h, 30d, or until 2026-11-28 (1h); upload: when the file is deleted, or never (as the servers are configured)'
complete -c reel -n '__reel_in url' -l scope -x -a 'file user prefix:' -d 'what signed links open: file, user (all of the user'\''s files), prefix:N (IDs that begin alike) (file)'
complete -c reel -n '__reel_in url' -l exact -d 'signed links are valid only with the name that they show'
complete -c reel -n '__reel_in url' -l network -x -d 'only for clients of ADDRESS'\''s network (/24; IPv6: /64)'
complete -c reel -n '__reel_in cp admin' -l to -x -d 'the user who gets the copies; admin: the group that users move to'
complete -c reel -n '__reel_in admin' -l empty -d 'drain: move the users that the group has, with their files, to other groups'
complete -c reel -n '__reel_in admin' -l rate -x -d 'moving: at most so many bytes per second: 500K, 20M, 1G (no limit)'
complete -c reel -n '__reel_in admin' -l bytes -x -d 'quota: bytes that the user may have: 500M, 20G, none or default'
complete -c reel -n '__reel_in admin' -l files -x -d 'quota: files that the user may have: a number, none or default'
complete -c reel -n '__reel_in admin' -l settle -x -d 'moving: how long to watch users who were moved for uploads to old addresses (75s)'
complete -c reel -n '__reel_in top' -l interval -x -d 'between two tables: 500ms, 2s (2s)'
complete -c reel -n '__reel_in fsck' -l repair -d 'take damaged files out of service and into quarantine'
complete -c reel -n '__reel_in fsck' -l confirm-leftovers -d 'the many files without a row are leftovers indeed: move them to quarantine'
complete -c reel -n '__reel_in fsck' -l status -d 'only report how far the last one is'
complete -c reel -n '__reel_in upload download' -F
complete -c reel -n '__reel_after admin' -a 'group quota'
complete -c reel -n '__reel_after admin group' -a 'list add drain open weight remove rebalance'
complete -c reel -n '__reel_after auth' -a 'new-key token verify whoami audit-verify'
