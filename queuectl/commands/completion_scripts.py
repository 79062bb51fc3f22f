"""The parts of the completion scripts that do not come from the parsers."""

from __future__ import annotations

# What bash and zsh share. The lists end at a thousand ids: what runs, what is next, what was last.
_TABLE = r"""
_queuectl_table() {
    words_='' flags_='' value_='@files' kind_=''
    case "$1" in
@SPOTS@
    esac
    case "$1 $2" in
@KINDS@
    esac
}
_queuectl_ask() {
    case "$1" in
    @ids) queuectl "${db_[@]}" list -q --limit 1000 ;;
    @dead) queuectl "${db_[@]}" dlq list -q ;;
    @groups) queuectl "${db_[@]}" dlq list --group -q ;;
    @queues) queuectl "${db_[@]}" queue list -q ;;
    @schedules) queuectl "${db_[@]}" schedule list -q ;;
    @none) ;;
    *) printf '%s\n' "$1" ;;
    esac 2>/dev/null </dev/null
}
_queuectl_step() {
    if [[ -n $flag_ ]]; then
        [[ $flag_ == --db ]] && db_=(--db "${1/#~\//$HOME/}")
        flag_=''
    elif [[ $at_ == -- || $1 == -- ]]; then
        at_='--'
    elif [[ $1 == --*=* ]]; then
        [[ $1 == --db=* ]] && db_=("$1")
    elif [[ $1 == -* ]]; then
        _queuectl_table "$at_" "$1"
        [[ -n $kind_ ]] && flag_=$1
    else
        _queuectl_table "$at_" ''
        [[ " $words_ " == *" $1 "* ]] && at_="${at_:+$at_ }$1"
    fi
}
_queuectl_want() {
    _queuectl_table "$at_" "$flag_"
    if [[ -n $flag_ ]]; then want_=$kind_
    elif [[ $1 == -* && $at_ != -- ]]; then want_=$flags_
    elif [[ -n $words_ ]]; then want_=$words_
    else want_=$value_
    fi
}
"""

BASH = (
    "# bash completion for queuectl. To load it: source <(queuectl completion bash)"
    + _TABLE.replace('"${db_[@]}"', '${db_[@]+"${db_[@]}"}')
    + r"""
_queuectl() {
    local at_='' flag_='' words_ flags_ value_ kind_ want_ i head_='' IFS=$' \t\n'
    local cur=${COMP_WORDS[COMP_CWORD]}
    local -a db_=()
    # bash takes "--queue=x" for three words.
    [[ $cur == '=' ]] && cur=''
    for ((i = 1; i < COMP_CWORD; i++)); do
        [[ ${COMP_WORDS[i]} == '=' ]] || _queuectl_step "${COMP_WORDS[i]}"
    done
    _queuectl_want "$cur"
    COMPREPLY=()
    if [[ $want_ == @files ]]; then
        compopt -o filenames 2>/dev/null
        IFS=$'\n'
        COMPREPLY=($(compgen -f -- "$cur"))
    else
        [[ $cur == *,* ]] && head_="${cur%,*},"
        COMPREPLY=($(compgen -P "$head_" -W "$(_queuectl_ask "$want_")" -- "${cur##*,}"))
    fi
}
complete -F _queuectl queuectl
"""
)

ZSH = (
    "#compdef queuectl\n# zsh completion. To load it: source <(queuectl completion zsh)"
    + _TABLE.replace("/#~", "/#\\~")
    + r"""
_queuectl() {
    local at_='' flag_='' words_ flags_ value_ kind_ want_ i cur=$PREFIX
    local -a db_
    for ((i = 2; i < CURRENT; i++)); do
        _queuectl_step "${words[i]}"
    done
    if [[ -z $flag_ && $at_ != -- && $cur == --*=* ]]; then
        flag_=${cur%%=*}
        compset -P '*='
    fi
    _queuectl_want "$cur"
    if [[ $want_ == @files ]]; then
        _files
    else
        compset -P '*,'
        compadd -- ${=$(_queuectl_ask "$want_")}
    fi
}
if [[ $funcstack[1] == _queuectl ]]; then
    _queuectl "$@"
else
    compdef _queuectl queuectl
fi
"""
)

FISH = r"""# fish completion for queuectl. To load it: queuectl completion fish | source
function __queuectl_words
    switch "$argv[1]"
@WORDS@
    end
end
function __queuectl_flags
    switch "$argv[1]"
@FLAGS@
    end
end
function __queuectl_value
    switch "$argv[1]"
@VALUES@
        case '*'
            echo @files
    end
end
function __queuectl_kind
    switch "$argv[1] $argv[2]"
@KINDS@
    end
end
function __queuectl_ask
    set -l db $argv[3..-1]
    if test "$argv[1]" = @files
        __fish_complete_path "$argv[2]"
        return
    end
    set -l head (string replace -r '[^,]*$' '' -- "$argv[2]")
    begin
        switch "$argv[1]"
            case @ids
                queuectl $db list -q --limit 1000
            case @dead
                queuectl $db dlq list -q
            case @groups
                queuectl $db dlq list --group -q
            case @queues
                queuectl $db queue list -q
            case @schedules
                queuectl $db schedule list -q
            case @none
            case '*'
                string split ' ' -- $argv[1]
        end
    end 2>/dev/null </dev/null | string replace -r '^' "$head"
end
function __queuectl
    set -l at ''
    set -l flag ''
    set -l db
    set -l tokens (commandline -opc)
    set -l current (commandline -ct)
    for word in $tokens[2..-1]
        if test -n "$flag"
            test "$flag" = --db; and set db --db (string replace -r '^~/' "$HOME/" -- $word)
            set flag ''
        else if test "$at" = --; or test "$word" = --
            set at --
        else if string match -q -- '--*=*' $word
            string match -q -- '--db=*' $word; and set db $word
        else if string match -q -- '-*' $word
            test -n "$(__queuectl_kind "$at" $word)"; and set flag $word
        else if contains -- $word (__queuectl_words "$at" | string replace -r '\t.*' '')
            set at (string trim -- "$at $word")
        end
    end
    if test -n "$flag"
        __queuectl_ask (__queuectl_kind "$at" $flag) "$current" $db
    else if test "$at" != --; and string match -q -- '--*=*' $current
        set -l parts (string split -m 1 = -- $current)
        printf "$parts[1]=%s\n" (__queuectl_ask (__queuectl_kind "$at" $parts[1]) "$parts[2]" $db)
    else if test "$at" != --; and string match -q -- '-*' $current
        __queuectl_flags "$at"
    else
        set -l words (__queuectl_words "$at")
        if test (count $words) -gt 0
            printf '%s\n' $words
        else
            __queuectl_ask (__queuectl_value "$at") "$current" $db
        end
    end
end
complete -c queuectl -f -a '(__queuectl)'
"""
