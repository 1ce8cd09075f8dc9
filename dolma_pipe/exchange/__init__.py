"""Token shards in other systems' forms: one module per form.

form       carries                                   masked rows
olmo       headerless .npy, .csv.gz                  .label_mask.npy
npy        NumPy's .npy, .ends.npy                   .label_mask.npy
datatrove  .ds, .ds.index, .ds.metadata              .ds.loss
megatron   .bin, .idx                                left out
mds        shard.*.mds, index.json                   padding stays in packed sequences; else left out
"""
