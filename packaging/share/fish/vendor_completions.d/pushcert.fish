# Completion of pushcert in fish. Made by packaging/make_manual.py.
function __pushcert
    set -lx _PUSHCERT_COMPLETE complete_fish
    set -lx _TYPER_COMPLETE_FISH_ACTION $argv[1]
    set -lx _TYPER_COMPLETE_ARGS (commandline --cut-at-cursor --current-process)
    pushcert 2>/dev/null
end
complete --command pushcert --no-files --condition "__pushcert is-args" \
    --arguments "(__pushcert get-args)"
