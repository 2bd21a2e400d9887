"""nftables: text as ``nft -f`` takes it, kept, walked and printed as nft 1.0.6 does.

Text becomes steps (``parse``, once per distinct text), steps make a ruleset of a ruleset
(``apply``, once per pair of them), and a namespace adds what belongs to it alone (``state``:
counts, elements with timeouts, token buckets). So nodes that load the same text share all of it.

    text   types  elements  priorities                words and errors; values; sets and maps
    fields expr   stmt  nat  jhash  literals  env     what rules are made of, and code for it
    parse_expr  parse_rule  parse_block  parse        the grammar, from the inside out
    templates   respell                               rules that differ in addresses and chains only
    model  ops    draft  apply  apply_sets  loops  refusals   rulesets and transactions
    state  walk   chains  fates  show                 a namespace's own; packets; ``nft list``

Not modelled, and said so: the families arp, bridge and netdev, flow tables, ct helper, timeout and
expectation objects, ``include``, JSON. What loads and makes a packet's fate UNKNOWN: quotas,
queue, ``ip ttl set`` and other rewriting, tcp options, ``ct count``, raw payload, socket, osf,
skuid and others that the packet model has no value for. ``log`` logs nothing. Tables that
iptables made are not shown by ``nft list``: both iptables backends are one table set here.

Sources: nftables 1.0.6 (src/parser_bison.y, src/rule.c, src/datatype.c, doc/), Linux
net/netfilter/nf_tables_api.c, nf_tables_core.c, nft_*.c.
"""
