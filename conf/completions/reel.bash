# Completion of reel in bash. Written by scripts/generate-manuals.py.
_reel() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command= options i
    # "--name=value" comes as three words.
    if [[ $word = = ]]; then word=; elif [[ $before = = ]]; then before=${COMP_WORDS[COMP_CWORD-2]}; fi
    COMPREPLY=()
    case $before in
        --tls-ca|--config|--files-from|-o|--output) compopt -o filenames; local IFS=$'\n'; COMPREPLY=($(compgen -f -- "$word")); return ;;
        --into) compopt -o filenames; local IFS=$'\n'; COMPREPLY=($(compgen -d -- "$word")); return ;;
        --sort) COMPREPLY=($(compgen -W "id name size time files used" -- "$word")); return ;;
        --scope) COMPREPLY=($(compgen -W "file user prefix:" -- "$word")); return ;;
        -t|--trackers|-a|--application|-u|--user|--idservers|--http|--connect-timeout|--timeout|--progress-timeout|--hedge-time|--tries|--max-time|-j|--parallel|--name|--type|--file-id|--offset|--size|--limit|--rights|--prefix|--since|--expires|--network|--to|--rate|--bytes|--files|--settle|--interval) return ;;
    esac
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            -t|--trackers|-a|--application|-u|--user|--idservers|--http|--tls-ca|--connect-timeout|--timeout|--progress-timeout|--hedge-time|--tries|--config|--max-time|-j|--parallel|--files-from|--name|--type|--file-id|-o|--output|--into|--offset|--size|--limit|--sort|--rights|--prefix|--since|--expires|--scope|--network|--to|--rate|--bytes|--files|--settle|--interval) [[ ${COMP_WORDS[i+1]} != = ]] || i=$((i + 1)); i=$((i + 1)) ;;
            -*) ;;
            *) command=${COMP_WORDS[i]}; break ;;
        esac
    done
    case $command in
        '') options="-t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version"
            [[ $word = -* ]] || options="upload download size stat delete restore list trash find du rename expire cp url fsck groups status top doctor admin auth" ;;
        upload) options="-n --dry-run -r --recursive --package -j --parallel --files-from --name --type --file-id -c --resume --expires -t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version" ;;
        download) options="-n --dry-run -j --parallel --files-from -o --output --into -c --resume --verify --offset --size -t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version" ;;
        size) options="--files-from -t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version" ;;
        stat) options="--files-from -t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version" ;;
        delete) options="-n --dry-run --files-from -t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version" ;;
        restore) options="-n --dry-run --files-from -t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version" ;;
        list) options="--name --deleted --limit --sort --since -l --long -t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version" ;;
        trash) options="--name --limit --sort --since -l --long -t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version" ;;
        find) options="--deleted --limit --since -t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version" ;;
        du) options="-t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version" ;;
        rename) options="-t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version" ;;
        expire) options="-t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version" ;;
        cp) options="-n --dry-run --files-from --name --file-id --to -t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version" ;;
        url) options="--files-from --name --sign --expires --scope --exact --network -t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version" ;;
        fsck) options="--repair --confirm-leftovers --status -t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version" ;;
        groups) options="-t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version" ;;
        status) options="-t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version" ;;
        top) options="--limit --interval -t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version" ;;
        doctor) options="-t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version" ;;
        admin) options="-n --dry-run -j --parallel --sort --to --empty --rate --bytes --files --settle -t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version" ;;
        auth) options="-o --output --rights --prefix --expires -t --trackers -a --application -u --user --idservers --http --tls-ca --connect-timeout --timeout --progress-timeout --hedge-time --tries --config --max-time --json -q --quiet -v --verbose -y --yes -h --help --help-json --version" ;;
        *) return ;;
    esac
    if [[ $word = -* || -z $command ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$word"))
    elif [[ $command = upload || $command = download ]]; then
        compopt -o filenames
        local IFS=$'\n'
        COMPREPLY=($(compgen -f -- "$word"))
    elif [[ $command = admin || $command = auth ]]; then
        case $before in
            admin) COMPREPLY=($(compgen -W "group quota" -- "$word")) ;;
            group) COMPREPLY=($(compgen -W "list add drain open weight remove rebalance" -- "$word")) ;;
            auth) COMPREPLY=($(compgen -W "new-key token verify whoami audit-verify" -- "$word")) ;;
        esac
    fi
}
complete -F _reel reel
