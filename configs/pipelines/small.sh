#!/bin/sh
# What small.yaml says, as commands: small.sh CORPUS [OPTIONS OF TRAIN], in the folder that shall hold everything.
configs=$(dirname "$0")/..
corpus=$1
shift

dolma-pipe ingest "$corpus" --to data/web --set shard_bytes=16000000 \
    --include 'dolma_cc/*' --include 'email_lists/*' --include 'enron_email/*' --include 'hackernews/*' --include 'movie_reviews/*' \
    --include 'reddit/*' --include 'stackexchange/*' --include 'ubuntu_irc/*' --include 'usenet/*' --include 'web/*' \
    --include 'web_articles/*' &&
dolma-pipe ingest "$corpus" --to data/reference --set shard_bytes=16000000 \
    --include 'ag_news/*' --include 'arxiv/*' --include 'books/*' --include 'contracts/*' --include 'court_opinions/*' \
    --include 'europarl/*' --include 'fedreg/*' --include 'math_word_problems/*' --include 'medicine_leaflets/*' \
    --include 'nih_grants/*' --include 'pubmed/*' --include 'reuters/*' --include 's2_abstracts/*' --include 'speeches/*' \
    --include 'tech_docs/*' --include 'uspto/*' --include 'wikipedia/*' &&
dolma-pipe ingest "$corpus" --to data/code --set shard_bytes=16000000 --include 'github_code/*' &&
dolma-pipe tag data/web --taggers langid,gopher,gopher_repetition,pii &&
dolma-pipe tag data/reference --taggers langid,length &&
dolma-pipe tag data/code --taggers length,gopher &&
dolma-pipe dedup data/reference data/web data/code --by url &&
dolma-pipe dedup data/reference data/web data/code --by text &&
dolma-pipe dedup data/web --by paragraph \
    --set 'where=[gopher, langid.en >= 0.65, NOT dedup_url.is_duplicate, NOT dedup_text.is_duplicate]' &&
dolma-pipe mix -c "$configs/mix/small.yaml" &&
dolma-pipe tokenizer train mixed/small --to tokenizers/small/tokenizer.json --vocab-size 8192 &&
dolma-pipe tokenize mixed/small --tokenizer tokenizers/small/tokenizer.json --to tokens/small &&
dolma-pipe tokenize mixed/small/splits/held_out --tokenizer tokenizers/small/tokenizer.json --to tokens/small-heldout &&
dolma-pipe train -c "$configs/train/small.yaml" "$@" &&
dolma-pipe eval --model runs/small --tokens tokens/small-heldout --to runs/small-bits-per-byte.json
