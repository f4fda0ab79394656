# Completion of `tessera` for bash. Made by `tessera help --completion`.
# Source it, or put it into /usr/share/bash-completion/completions/tessera
_tessera() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W 'caption ask logits info quantize top serve token bench --help --version' -- "$current")
        return
    fi
    case $previous in
    --prompt | -p) return ;;
    --system) return ;;
    --text) return ;;
    --tokens) return ;;
    --existing) mapfile -t COMPREPLY < <(compgen -W 'skip overwrite' -- "$current"); return ;;
    --budget) mapfile -t COMPREPLY < <(compgen -W '70 140 280 560 1120' -- "$current"); return ;;
    --max-tokens | -n) return ;;
    --temperature | -t) return ;;
    --top-k) return ;;
    --top-p) return ;;
    --min-p) return ;;
    --repetition-penalty) return ;;
    --seed) return ;;
    --stop) return ;;
    --logprobs) return ;;
    --weights | -w) mapfile -t COMPREPLY < <(compgen -W 'f32 bf16 int8 int4' -- "$current"); return ;;
    --group | -g) mapfile -t COMPREPLY < <(compgen -W '32 64 128' -- "$current"); return ;;
    --activations) mapfile -t COMPREPLY < <(compgen -W 'auto f32 bf16 int8 int8x2 mixed' -- "$current"); return ;;
    --kv) mapfile -t COMPREPLY < <(compgen -W 'bf16 f32 int8 int8-all' -- "$current"); return ;;
    --batch | -b) return ;;
    --context | -c) return ;;
    --step-tokens) return ;;
    --memory) return ;;
    --device | -d) mapfile -t COMPREPLY < <(compgen -W 'auto cpu cuda' -- "$current"); return ;;
    --gpu) mapfile -t COMPREPLY < <(compgen -W 'rtx3070 rtx4060 rtx3060 rtx3090 rtx4060ti rtx4070 rtx4090 rtx5060ti rtx5070ti rtx5080 rtx5090 h100' -- "$current"); return ;;
    --bf16-products) mapfile -t COMPREPLY < <(compgen -W 'ours cublaslt' -- "$current"); return ;;
    --isa) mapfile -t COMPREPLY < <(compgen -W 'auto reference scalar avx2 avx512' -- "$current"); return ;;
    --threads | -j) return ;;
    --prep-threads) return ;;
    --socket-mode) mapfile -t COMPREPLY < <(compgen -W '0600 0660 0666' -- "$current"); return ;;
    --listen) return ;;
    --requests) return ;;
    --queue-tokens) return ;;
    --images) return ;;
    --connections) return ;;
    --blobs) return ;;
    --held-bytes) return ;;
    --message) return ;;
    --idle) return ;;
    --drain) return ;;
    --metrics-port) return ;;
    --server) return ;;
    --reconnect) return ;;
    --every) return ;;
    --log-level) mapfile -t COMPREPLY < <(compgen -W 'error warn info debug' -- "$current"); return ;;
    esac
    if [[ $current == -* ]]; then
        case ${COMP_WORDS[1]} in
        caption) mapfile -t COMPREPLY < <(compgen -W '--model --prompt --system --output --sidecar --existing --html --retry-errors --null --budget --max-tokens --temperature --top-k --top-p --min-p --repetition-penalty --seed --stop --logprobs --weights --group --activations --kv --batch --context --step-tokens --memory --device --kernels --bf16-products --isa --threads --prep-threads --server --token-file --reconnect --quiet --log-level --help' -- "$current") ;;
        ask) mapfile -t COMPREPLY < <(compgen -W '--model --system --image --thinking --budget --max-tokens --temperature --top-k --top-p --min-p --repetition-penalty --seed --stop --logprobs --json --weights --group --activations --kv --context --step-tokens --memory --device --kernels --bf16-products --isa --threads --server --token-file --reconnect --log-level --help' -- "$current") ;;
        logits) mapfile -t COMPREPLY < <(compgen -W '--model --image --text --tokens --output --budget --weights --group --activations --kv --context --step-tokens --memory --device --kernels --bf16-products --isa --threads --quiet --log-level --help' -- "$current") ;;
        info) mapfile -t COMPREPLY < <(compgen -W '--budget --json --verify --weights --group --activations --kv --batch --context --step-tokens --memory --device --gpu --kernels --bf16-products --isa --threads --quiet --log-level --help' -- "$current") ;;
        quantize) mapfile -t COMPREPLY < <(compgen -W '--output --weights --group --threads --quiet --log-level --help' -- "$current") ;;
        top) mapfile -t COMPREPLY < <(compgen -W '--server --token-file --once --every --help' -- "$current") ;;
        serve) mapfile -t COMPREPLY < <(compgen -W '--model --budget --weights --group --activations --kv --batch --context --step-tokens --memory --device --kernels --bf16-products --isa --threads --prep-threads --config --socket --socket-mode --listen --users --requests --queue-tokens --images --cache-per-user --connections --blobs --held-bytes --message --idle --drain --metrics-port --metrics-file --metrics-users --log-prompts --record --log-level --help' -- "$current") ;;
        token) mapfile -t COMPREPLY < <(compgen -W '--help' -- "$current") ;;
        esac
        return
    fi
    mapfile -t COMPREPLY < <(compgen -f -- "$current")
}
complete -o filenames -F _tessera tessera
