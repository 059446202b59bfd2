"""Changes that change nothing: each pattern with the reason why no question can be answered differently.

A pattern is searched in `objective: function: statement` of a mutant that nothing has noticed, where ⟨before → after⟩
marks the change. One that no mutant needs fails the whole proof, and so does one that fits a mutant which is noticed.
"""

import re

BOUND = r"(⟨torch\.clamp\(.*min=-20, max=20|min=-20⟨, max=20 → ⟩|⟨min=-20,  → ⟩max=20|min=-⟨20 → |max=⟨20 → )"
"""A change of what holds a log-ratio within ±20."""
UPPER = r"(min=-20⟨, max=20 → ⟩|max=⟨20 → )"
"""A change of what holds it below 20."""
WIDER = r"(⟨torch\.clamp\(mean|⟨, max=20 → |⟨min=-20,  → |⟨20 → 41)"
"""A looser bound of a mean of log-ratios, or none."""
MASK_ALL = r"⟨mask → torch\.ones_like\(mask\)⟩"
"""A mask that is forgotten."""

SMALL_COUNT = "a count below 1 divides nothing that is read"
NO_SPREAD = "what is centred is exactly 0 where there is no spread"
SHIFT = "a shift cancels, and so does the sign of what is squared"
ANY_SPREAD = "a spread is 0 or is not, whatever number its squares are divided by"
ALWAYS_ONE = "what is compared is 1"
ONE_RIGHT = "of one right completion there is no distance, so whatever divides it is not seen"
ALL_RIGHT = "in a group in which lengths count, they count for all that is right"
ALL_MEMBERS = "without `of`, which no shipped objective gives it, every value is a member"
NO_DDOF = "ddof is 0 there, and a group of one is centred to 0"
FEW_OTHERS = "of one other the distance is 0, and where rewards are between there are two"
SIGN_CANCELS = "what is centred is squared, or centred twice"
NO_ADVANTAGE = "at an advantage of 0 there is no policy term, whichever side it is on"
MASKED_AGAIN = "what is masked here is masked once more before it counts, or is 0 there"
TIE = "two computed numbers that are equal: rounding decides on which side"
AT_ONE = "at a ratio of 1 the gate is 1 and the divergence 0; at a bound the decay is 1"
NEVER_POSITIVE = "the exponent is never positive"
BOUNDED_BEFORE = "a mean of bounded log-ratios is bounded, and a policy's log-ratio to itself is 0"
BEYOND_THE_CAP = (
    "a cap, a band or a threshold inside of ±20, or a gate that is flat there, has decided already"
)
DECIDES = "what only decides a condition, or a statistic of the window, has no gradient to lose"
NOT_COUNTED = "a count of sequences, by which no loss divides that excludes tokens"
COMMUTES = "either order is the same: one of the two leaves alone what the other changes, or both only scale"
SYMMETRIC = "the same from both sides: a square, or an absolute value"
NOT_READ = "where it differs it is not read"
ONE_AND_ONE = "both are 1"
SIGN_ALONE = "only its sign is read"
FEW_ROWS = "no group is so large that between one and ninety-nine percent is not some and not all"
SEARCH = (
    "raising the lower bound only lowers the share of good completions: it ends at its start or at its end"
)
ONE_SIDE = "the lower bound is for bad completions alone, the upper for good ones"
SURE = "a probability is at most 1, so the width is at least sigma_base"
PROD_BOUNDED = "the product is bounded already, and the kernel is 0 long before the bound"
BY_INDEX = "the same cells, found by their index or sorted once more, only slower"
OF_THE_ESTIMATOR = "the advantage is of the axis that its estimator gives"
DRAWN_OTHERWISE = "batches bring advantages that no domain is asked for"
BRACKETS = "as tight as before beside all that it is written with"
ONE_CELL = "a tensor of one element stands for the number"
ONE_AXIS = "of one axis the first is the last, and of two the second"
SHAPE_ALONE = (
    "only the shape, the device or the type is read, or the number of something that is not looked at"
)
ANY_PART = "every part of a window has these"
NOTHING_THERE = "a row or an owner of nothing is not counted, and what it would have is not read"
REACH = "a completion of more than two million tokens, or a finite number times 0"
ONE_RANK = "no number of ranks is above 1"
NEVER_ASKED = "`keep` and `prompt` are computed before the advantage and cannot read it"
DETACHED_LATER = "what is detached before it counts has no gradient to lose"
DETACHED = "whatever is not trained was detached when it came in"
AS_MANY = "there are as many names as values"
COUNTED_FASTER = "a sum of equal numbers is their number times one, however it is counted, only slower"
SAME_ANY = "the same on a row with tokens, and of a row without there is no largest"
EMPTY = "without a token that counts there is no loss, and no step"
UNLIKELY = "a token that is e^20 times as likely as before was too unlikely for any threshold"
SMALL_EPSILON = "where it is not small beside what it is added to, that is all that it is multiplied by"

FITTED = r"(a2po|dvo|flowrl|gvpo|oapl|real|target_po)"
"""Without a policy term: a window of nothing is a mean over nothing, and completions are summed by themselves."""

COUNTED = (
    r"^(?!(rejection\w*|prime_default): once|(rloo|grpo_passk|lite_ppo|qae): advantage: (lea|quo|std)"
    r"|fipo: loss: bounded|grpo_leave_one_out: advantage: bounded_2|vapo: (loss: mean|advantage: reach)"
    rf"|{FITTED}: loss: (fit|summed_3|(bad|good)_ones)|real: loss: bounded_3|target_po: loss: bounded =)"
)
"""Not where a count of 0 is divided by: completions that are all rejected, and others of a group of one."""
LIBRARY_COUNTED = (
    rf"^(?!rejection|prime_default|({FITTED}|vapo): def mean|.*def leave_one_out|gvpo: penalty fit)"
)
"""The same in the library."""
NO_TOTAL = rf"^(?!(?!real){FITTED}: loss: \w+ = sum_within\(x\['adv)"
"""Not where a completion's own advantage is the mean over its tokens."""
NO_SIGN = r"^(?!clip_cov: (let|loss)|fipo: (exclude|statistics)|stapo\w*: statistics|stapo(_maspo)?: let).*"
"""Not where tokens are counted by the sign of their advantage."""
NO_TIE = (
    r"^(?!aspo: loss: condition_2|grpo_lead: (let|advantage:) counts|qae: let baseline"
    r"|(decoupled_ppo|molt): mute|gpg_paper|real: let mixed|the template"
    r"|(ce_gppo|olmo3|qae|scale_rl|(maspo_)?dapo): keep)"
    r".*(?<!mask\) )(?<!entropy\(policy\) )"
)
"""Not where values are compared with one of them, or counts."""
OF_BATCH = r"x\['\w+'\]( - x\['\w+'\])?"
"""A tensor of the batch, or one less another."""
OTHER_AXES = (
    r"dense|counted|discounted_sum_within: power|least|sum_within: return|max_within: largest"
    r"|quantile_within: count"
)
"""Where the last axis is not the only one, nor the second."""
INEXACT = (
    r"^(?!(dro|gpg\w*|gvpo|dr_grpo|grpo_leave_one_out|lite_ppo|magistral|max_rl|molt|olmo3|prime_default"
    r"|reinforce_plus_plus_baseline|rloo|scale_rl): advantage: difference ="
    r"|kl_cov: loss: difference_2|magistral: advantage: difference_2)"
)
"""Not where the shift makes the advantage of equal rewards exactly 0, or covariances equal."""

OWN_SPREAD = r"^(?!magistral|molt|scale_rl)"
"""Not where what is divided by adds nothing to the spread: 0 over 0 would be no number."""

EQUIVALENT: dict[str, str] = {
    # ---- everywhere
    rf"{COUNTED}.*clamp\(.*, min=⟨1 → 0⟩\)": SMALL_COUNT,
    rf"{COUNTED}.*⟨torch\.clamp\(.*, min=(1\)?)? → ": SMALL_COUNT,
    rf"{NO_SIGN}(advantage('\])?|\bA) [<>]⟨(= → | → =)⟩ 0": NO_ADVANTAGE,
    rf"^(?!luffy: loss: policy).*⟨masked\({OF_BATCH}, mask\) → x": MASKED_AGAIN,
    rf"^(?!luffy: loss: policy).*masked\({OF_BATCH}, {MASK_ALL}\)": MASKED_AGAIN,
    rf"^(asymre|cispo\w*|dppo_\w+|dro|gpg\w*|scale_rl|topr|vespo): loss: loss = total\(.*, {MASK_ALL}": MASKED_AGAIN,
    rf"{NO_TOTAL}.*(?<!discounted_)sum_within\((?!one,).*, {MASK_ALL}.*'sequence'": MASKED_AGAIN,
    r"^flowrl: loss: residual = (⟨masked\(x\['log_z|masked\(x\['log_z'\], ⟨)": MASKED_AGAIN,
    rf"^{FITTED}: loss: (fit|summed_3) = total\(.*⟨x\['present'\] → ": MASKED_AGAIN,
    r"^stapo(_maspo)?: statistics_1: tau_h = \(members\(constant, ⟨mask( &  → |.*ones_like\(mask\)⟩ &)": MASKED_AGAIN,
    rf"{OWN_SPREAD}.*(scale|whiten)(_\d)? = ⟨torch\.where\(std(_\d)? > 0, .* → (center|sum|added)": NO_SPREAD,
    rf"{OWN_SPREAD}.*(scale|whiten)(_\d)? = torch\.where\(std(_\d)? (>⟨ → =⟩ 0|> ⟨0 → -1⟩)": NO_SPREAD,
    rf"max_within\((advantage|logp\.detach\(\)|gae|center|discounted_sum(_2)?), {MASK_ALL}": SHIFT,
    rf"{INEXACT}.*difference\w* = \w+ ⟨- → \+⟩ (max_within\(|largest)": SHIFT,
    r"^(?!molt).*difference_[2-6] = ⟨(center(_\d)?|leave_one_out|sum|added) - ": SHIFT,
    r"^grpo_passk: advantage: difference(_2)? = ⟨reward - largest": SHIFT,
    r"^(lite_ppo|qae): advantage: difference_2 = ⟨reward - (max_within|largest)": SHIFT,
    r"^(?!grpo_lead).*advantage: center_[246] = ⟨difference|, 0, \(⟨difference_\d - mean_without": SHIFT,
    r"^(grpo_passk|qae): advantage: center = ⟨difference|^grpo_lead: advantage: center_3 = ⟨difference": SHIFT,
    r"^gdpo: advantage: center_5 = ⟨difference": SHIFT,
    r"^molt: advantage: difference_3 = ⟨center_3 - ": SHIFT,
    r"^(bapo|bnpo): statistics_1: .*window_count\(one (>⟨ → =⟩ 0|> ⟨0 → -1⟩)": ALWAYS_ONE,
    rf"{NO_TIE}[<>]⟨(= → | → =)⟩ (?!0\b|1\b(?! [+-])|difference_2\b|torch\.inf)": TIE,
    r"^bapo_paper: loss: enough = .* >⟨= → ⟩ product": TIE,
    r"\br [<>]⟨ → =⟩ 1\b|= \w+ [<>]⟨ → =⟩ (difference_2|added)\b": AT_ONE,
    r"^cfpo: ratio = .*⟨policy / old - 1 → 1 - policy / old⟩\) \^ 2": SYMMETRIC,
    r"^(?!ctpo: loss: bounded = ⟨).*(max=⟨80 → |⟨torch\.clamp\(.*, max=80)": NEVER_POSITIVE,
    r"^ctpo: loss: running = .*(1 ⟨\* → /|1⟨ \* one|⟨1 \*  → )": ONE_AND_ONE,
    r"^(?!sapo).*⟨(r - 1 → 1 - r⟩|r - clamp.* → clamp)|\(⟨x - mean_without": SYMMETRIC,
    r"statistics_\d: .*x\['logp'\]⟨ → \.detach\(\)⟩": DECIDES,
    r"^((deepseek_v32|grpo_opsm): loss: k1|(clip|kl)_cov: loss: logp) = .*⟨ → \.detach\(\)⟩": DECIDES,
    r"^(prime_default|stapo\w*): loss: policy = .*⟨ → \.detach\(\)⟩": DECIDES,
    r"^(cispo\w*|dppo_\w+|gspo_token|scale_rl|topr|vespo): loss: log_ratio\w* = .*⟨ → \.detach\(\)⟩": DETACHED_LATER,
    r"^(ctpo|dvo|flowrl): loss: log_ratio = .*⟨ → \.detach\(\)⟩": DETACHED_LATER,
    r"(x\['entropy'\], mask\)|top_within\(cov|max_within\(logp|quantile_within\(entropy)⟨\.detach\(\) → ⟩": DECIDES,
    r"statistics_\d: return .*window_count\(count (⟨|>⟨|> ⟨)": NOT_COUNTED,
    r"statistics_1: condition = sum_within\(one, without_idle, .*(⟨> → <⟩|>⟨ → =⟩|> ⟨0 → -?1⟩) ?0?": NOT_COUNTED,
    r"quantile(_within)?\(.*, ⟨(- → ⟩torch\.inf|0 → -?1⟩\))": EMPTY,
    # ---- bounds of log-ratios
    rf"(geomean|^tis_geometric: loss: mismatch) = torch\.exp\(.*{WIDER}": BOUNDED_BEFORE,
    rf"^((ctpo|gspo_token): loss: r|ce_gppo: loss: r_2) = torch\.exp\(.*{BOUND}": BOUNDED_BEFORE,
    rf"^(aspo|cispo_two_sided): loss: log_ratio = .*{BOUND}": BEYOND_THE_CAP,
    rf"^(ce_gppo|cispo|dcpo|fipo|scale_rl): loss: log_ratio = .*{UPPER}": BEYOND_THE_CAP,
    rf"^(bapo|dppo_\w+|molt|ppo_dual_clip|soft_exponential|spo): loss: log_ratio = .*{UPPER}": BEYOND_THE_CAP,
    rf"^fipo: statistics_1: log_ratio = .*{BOUND}": BEYOND_THE_CAP,
    rf"^((sapo|two_sided_clip): loss: log_ratio|(dvo|flowrl|topr): loss: prod) = .*{UPPER}": BEYOND_THE_CAP,
    rf"^((decoupled_ppo|olmo3|tis): loss: log_ratio_2|(tis_product|vcpo): loss: mismatch) = .*{UPPER}": BEYOND_THE_CAP,
    r"^tis_geometric: loss: mismatch = .*max=⟨20 → 19": BEYOND_THE_CAP,
    r"^molt: loss: geomean = .*(min=-|max=)⟨20 → 19": BEYOND_THE_CAP,
    rf"^(mis: loss: log_ratio_2|mis_product: loss: correction|vespo: loss: prod) = .*{BOUND}": BEYOND_THE_CAP,
    rf"^mis_geometric: loss: correction = .*{BOUND}": BEYOND_THE_CAP,
    rf"^rejection: \w+: log_ratio = .*{BOUND}": BEYOND_THE_CAP,
    rf"^rejection\w*: (loss|statistics_1): mismatch = .*{BOUND}": BEYOND_THE_CAP,
    r"^dppo_kl\w*: loss: log_ratio_2 = .*(⟨min=-20,  → |min=-⟨20 → )": UNLIKELY,
    # ---- of single objectives
    r"mass = torch\.clamp\(⟨torch\.clamp\(product, min=p\['sigma_base'\]\) → product": SURE,
    r"^bapo\w*: loss: first\w* = .*candidates\(0\.55, (⟨0\.1 → 1\.2⟩|0\.1, ⟨4 → )": SEARCH,
    r"^dgpo: loss: .*(⟨torch\.where\(.* → (\(chosen|(r|added) / )|chosen\w* = .*, ⟨1 → [03]⟩)": NOT_READ,
    r"^dgpo: loss: .* / ⟨torch\.where\(.* → [a-z]\w+⟩": NOT_READ,
    r"^aspo: loss: (chosen|flip_\d) = .*(⟨torch\.where\(.* → (clip\.detach|flip|chosen)|, ⟨1 → 3⟩)": NOT_READ,
    r"^entropy_advantage: loss: chosen = ⟨torch\.where\(.* → 1 \+": NOT_READ,
    r"^entropy_advantage: loss: chosen = .*(⟨torch\.where\(.* → advantage⟩|(advantage|\)), ⟨1 → [03]⟩)": NOT_READ,
    r"^vespo: loss: product = .*keep_good, (⟨1 → [03]⟩|1\) → keep_good⟩)": NOT_READ,
    r"^gpg_paper: advantage: chosen = .*share, ⟨1 → 3⟩": NOT_READ,
    r"^grpo_passk: advantage: return .*⟨torch\.where\(present, chosen .* → chosen": MASKED_AGAIN,
    r"^bapo: loss: lowest_2 = .*( → (low|1 - p\['eps_low'\])⟩|⟨- → ⟩)": NOT_READ,
    r"^molt: loss: lowest = .*( → 1 - p\['eps_low'\]⟩|⟨- → ⟩)": NOT_READ,
    r"^(dcpo|fipo|ppo_dual_clip|spo): loss: lowest = .*( → (low|1 - p\['eps_low'\])⟩|⟨- → ⟩)": NOT_READ,
    r"^ctpo: loss: lowest = .*( → exponential_2⟩|⟨- → ⟩)": NOT_READ,
    r"^(bapo|ppo_dual_clip): loss: dual = torch\.⟨where\(condition, torch\.clamp": COMMUTES,
    r"^(dro: loss: log_ratio|molt: loss: log_ratio_3) = .*⟨logp'\] - ": SYMMETRIC,
    r"^molt: loss: highest = (⟨torch\.where\(advantage > 0|torch\.where\(advantage > ⟨0 → -1⟩)": NOT_READ,
    r"^molt: keep( mixed where|: mixed = ).*([<>]⟨ → =⟩|⟨01 → 005⟩)": FEW_ROWS,
    r"^(magistral|scale_rl): loss: (present|condition) = .*(⟨x\['present|⟨present & )": NOT_READ,
    r"^(gvpo|real|target_po): loss: (condition|summed_4|log_sum_2) = .*⟨present & ": NOT_READ,
    r"^luffy: loss: quotient = policy / (⟨torch\.where\(.* → \(policy|torch\.where\(.*, ⟨1 → 3⟩)": NOT_READ,
    r"^gvpo: def mean\(.*⟨1 → 0\.5": SMALL_COUNT,
    r"^opd: advantage: chosen = torch\.(⟨where\(mask|where\(⟨mask)": MASKED_AGAIN,
    r"^real: (let good = ⟨mean|loss: mean = summed( ⟨/ → \*|⟨ / ))": SIGN_ALONE,
    r"^(magistral|scale_rl): loss: summed = .*(⟨torch\.where\(present, .* → quotient⟩|⟨0 → -?1⟩)": NOT_READ,
    r"^(gvpo|magistral|real|scale_rl|target_po): statistics_1: count = window_count\(⟨present & ": NOT_READ,
    r"^vapo: loss: summed = total\(-masked.*⟨mask( & |.*ones_like\(mask\))": MASKED_AGAIN,
    r"^molt: mute drifted where not low <⟨= → ⟩ geomean": TIE,
    r"^qae: let baseline = .*max\(reward, ⟨group → rollout_batch": NOT_READ,
    r"^grpo_lead: let spread = .*(⟨ if count\(|of = right\) (>⟨ → =⟩|> ⟨1 → 0\.[05])|else ⟨1 → )": ONE_RIGHT,
    r"^grpo_lead: let spread = .* if count\(reward, (group⟨, of|⟨group(?! → sequence))": ONE_RIGHT,
    r"^grpo_lead: let (spread|longer) = .*of = ⟨right → counts": ALL_RIGHT,
    r"^grpo_lead: advantage: spread = .*(⟨torch\.where\(.* → std⟩|>⟨ → =⟩ 1|> ⟨1 → 0⟩|std, ⟨1 → )": ONE_RIGHT,
    r"^grpo_lead: advantage: longer = .*(⟨torch\.where\(.* → center⟩|count_3 >⟨? → |count_3 > ⟨0|center, ⟨0)": NOT_READ,
    r"^grpo_lead: advantage: signal = .*(⟨torch\.where\(.* → center_2|std_2 >⟨ → =|std_2 > ⟨0 → -1)": NO_SPREAD,
    r"^grpo_lead: (advantage = signal \* .*|advantage: product = .*)signal >⟨ → =⟩ 0": NO_ADVANTAGE,
    r"^maspo_paper: loss: quotient = 1 / \(⟨1 - ": SYMMETRIC,
    r"^vcpo: step: bounded = .*(⟨1e-30 → -|⟨torch\.clamp)": EMPTY,
    r"^vespo: loss: bounds = .*( → prod, min=|max=⟨485165195)": PROD_BOUNDED,
    # ---- in specs and in the library
    r"^(?!gvpo).*max\(count\(.*, ⟨1 → 0\.5": SMALL_COUNT,
    rf"{LIBRARY_COUNTED}.*(⟨max\(count\(.*\), 1 → |max\(count\(.*\), ⟨1 → 0\.)": SMALL_COUNT,
    r"^(?!grpo_passk|lite_ppo|qae).*(⟨max\(count\(.* - ddof, 1 → |max\(count\(.* - ddof, ⟨1 → 0\.)": SMALL_COUNT,
    r"^(molt|target_po|vcpo): def std\(.*(⟨ - ddof → |ddof, ⟨1 → 2\.0)": NO_DDOF,
    r"def mean_without\(.*(⟨max\(count|, ⟨1 → )": FEW_OTHERS,
    r"def std_(without|of_others)\(.*(⟨max\(count\(x, scope\) - 2|- 2, ⟨1 → 0\.)": FEW_OTHERS,
    r"def std_of_others\(.*(⟨max\(count\(x, scope\) - 1|- 1, ⟨1 → )": FEW_OTHERS,
    r"def leave_one_out_std\(.*(⟨x - m\w+\(x, scope\) → m|std_without\(x( ⟨- → \+⟩ max|⟨ - max| - ⟨max → min))": SHIFT,
    r"^(grpo_passk|molt|qae|reinforce_plus_plus_baseline): def center\(.* = ⟨x - max\(x, scope\) - m": SIGN_CANCELS,
    rf"{OWN_SPREAD}.*def scale\(.*(⟨ if std\(|>⟨ → =⟩ 0|> ⟨ → -1\.⟩0)": NO_SPREAD,
    r"def scale\(.*if std\(x, scope, ⟨ddof → (x|eps)⟩": ANY_SPREAD,
    r"def ess\(.*(⟨max\(count|⟨1e-30 → (5e-31|-1\.0))": EMPTY,
    r"def whiten\(.*⟨center\(scope\) \|> scale|def exponential_gate\(.*⟨r, low → low, r⟩": COMMUTES,
    r"^vespo: def clamp\(.* → max\(x, low⟩": PROD_BOUNDED,
    r"\|> ⟨(center|scale)\((group|roll).* → (center|scale)\((group|roll)": COMMUTES,
    r"⟨(clip|decay_below|min)\(.* when A [<>]( 0)? → ": COMMUTES,
    r"^ce_gppo: ratio = .*(⟨held_at\(.*|[_(]⟨\w*(low|high).* as preserve_\w+) when A .* → (?!⟩)": COMMUTES,
    r"def leave_one_out\(.*(⟨\(1 if is_member\(scope\) else 0\) → 1⟩|is_member\(scope\) else ⟨ → -?1\.)": ALL_MEMBERS,
    r"^(?!gspo_token).*⟨(after → before|before → after)⟩ clip": COMMUTES,
    r"as bounds ⟨\|> gamma_gate\(k_pos.* when A < → ": COMMUTES,
    r"(let (mass|risk) = |def overlong\(.*\) = )clamp\(.*⟨.*, .* → .*, .*⟩, (10|0)\)": COMMUTES,
    r"^vespo: ratio = .*exp\(⟨20 → ": PROD_BOUNDED,
    r"^bapo\w*: let low = .* \.\. ⟨low_max → (low_start|high_start)": SEARCH,
    r"^bapo: let low = .* \.\. ⟨low_max → (high_max|cap)|^bapo_paper: let low = .*⟨high → high_max": SEARCH,
    r"= sum\(max\((gain|pull)\(⟨low → high|max\(-gain\(low, ⟨high → low": ONE_SIDE,
    r"def binary_kl.*1 - p \+ ⟨1e-8 → 5e-09": SMALL_EPSILON,
    r"k2\(⟨policy, (old|reference) → |def k2\(p, q\) = log\(⟨p / q → ": SYMMETRIC,
    r"abs\((log\(⟨policy / old → |⟨ → -⟩A\))": SYMMETRIC,
    r"log\(⟨policy / rollout → [^ ]* / policy⟩\) \^ 2": SYMMETRIC,
    r"^maspo_paper: let risk = .*⟨1 - beta_neg \* A → ": SYMMETRIC,
    r"share > 0 else ⟨1 → (2\.0|0\.5)|A != 0 else ⟨1 → ": NOT_READ,
    r"(if|where) ⟨ → -⟩A [!=]= 0|let lead = ⟨max\(reward, group\) → reward": NOT_READ,
    r"^opo: let behind = reward - ⟨max → min": SHIFT,
    r"empty = ⟨- → ⟩inf": EMPTY,
    # ---- in the tables
    r"^the tables: special (and|not): precedence → 60": BRACKETS,
    r"^the tables: quantity A: domain → <Domain\.LOG_PROB": DRAWN_OTHERWISE,
    r"^the tables: quantity A: axis → ": OF_THE_ESTIMATOR,
    # ---- in the template
    r"tokens_by: start = None⟨ if 'sequence' in x else -1 → ⟩": BY_INDEX,
    r"quantile_within: if by\.start != ⟨0 → 1⟩": BY_INDEX,
    r"given_back: if by\.start == ⟨0 → -?1⟩": ONE_CELL,
    r"max_within: largest = .*, ⟨1 → 3⟩\), -torch\.inf": SHAPE_ALONE,
    r"quantile_within: ordered = .*⟨torch\.where\(chosen, value, 0\.0\) → value⟩": NOTHING_THERE,
    rf"^the template: (?!{OTHER_AXES}).*⟨- → ⟩1\b": ONE_AXIS,
    r"^(?!the template: counted).*(index_add|scatter|scatter_reduce|cumsum|gather|\.squeeze|\.sum)\(⟨0 → -1⟩": ONE_AXIS,
    r"(?<!return mask\.)(?<!chosen\.)shape\[⟨0 → -1⟩\]": ONE_AXIS,
    r"(micro_batches|found|(?<!start=)parts)\[⟨0 → -1⟩\]": ANY_PART,
    r"(_like|expand_as|view|rows_of|len)\(⟨(\w+|x\['\w+'\]) → torch\.ones_like\(": SHAPE_ALONE,
    r"⟨(\w+|x\['\w+'\]) → torch\.ones_like\([^⟩]*⟩\)?\.(shape|device|new_\w+|numel)": SHAPE_ALONE,
    r"known_row_count: mask = ⟨|new_(zeros|full)\(\(?⟨1 → 3⟩|shape\[0\], ⟨1 → 3⟩": SHAPE_ALONE,
    r"evaluate: .*(⟨ → detach\(\)\.⟩dtype|⟨logp → logp_old⟩'\]\.dtype)": SHAPE_ALONE,
    r"from_line\(.*⟨member → torch\.ones_like": NOTHING_THERE,
    r"max_within: return .*( → largest⟩|>⟨ → =⟩|⟨member → |> ⟨0 → -1⟩|⟨0 → -?1⟩\.0)": NOTHING_THERE,
    r"placed: return (⟨torch\.where\(member.* → from_line|.*⟨member → |.*, ⟨0 → -?1⟩\))": NOTHING_THERE,
    r"kth_within: return .*⟨member( & \(| → .*⟩ &)|top_within: return ⟨member": NOTHING_THERE,
    r"quantile_within: (order|line|cells)ed = .*( → value⟩\[|⟨chosen → |⟨0 → -?1⟩\.0)": NOTHING_THERE,
    r"quantile_within: start, last = .*(⟨\(count - 1\)\.clamp|min=⟨0 → -1⟩)": NOTHING_THERE,
    r"(next_within|discounted_sum_within): line = (⟨masked|masked\(value, ⟨member)": NOTHING_THERE,
    r"pick_within: bits = key\.⟨detach\(\)": DECIDES,
    r"number_of_ranks: return .*(⟨is_available\(\) and group|else ⟨1 → 0⟩)": ONE_RANK,
    r"prepare: if read⟨ and purpose in": NEVER_ASKED,
    r"add_advantage: advantage = .*⟨\.detach": DETACHED,
    r"(params|parameters_in): .*strict=⟨True → False⟩": AS_MANY,
    r"counted: whole = .* // ⟨512 → 1025⟩ \* 512": COUNTED_FASTER,
    r"counted: if (⟨whole == 0 or  → ⟩|whole (⟨= → !⟩= 0|== ⟨0 → -?1⟩) or)": COUNTED_FASTER,
    r"counted: return count ⟨if whole == flags\.numel\(\) else count  → ⟩\+": COUNTED_FASTER,
    r"rows_present: present = mask\.(⟨view|.*⟨mask → torch\.ones_like\(mask\)⟩\.any)": SAME_ANY,
    r"evaluate: if .* ⟨0 → -1⟩|evaluate: return (⟨\(x\['logp'\] \* 0\.0\) → x|.*⟨\* → /⟩|.*⟨0 → -?1⟩)": EMPTY,
    r"discounted_sum_within: for reach .*(⟨8 → \d+⟩ \*\* 7|8 \*\* ⟨7 → 15⟩)": REACH,
    r"discounted_sum_within: line = .*(same⟨ & \(power|power != ⟨0 → -1⟩)": REACH,
    r"discounted_sum_within: factor = .*⟨ if factor\.dim": SHAPE_ALONE,
    r"converted: (for name in ⟨known|x\[name\] = value ⟨if value\.dtype)|dense: order = .*stable=": NOT_READ,
}


def reason_for(mutant: str) -> str | None:
    """Why a mutant that nothing notices changes nothing; None if no pattern fits."""
    return next((why for pattern, why in EQUIVALENT.items() if re.search(pattern, mutant)), None)


def patterns_for(mutant: str) -> list[str]:
    """The patterns that fit a mutant."""
    return [pattern for pattern in EQUIVALENT if re.search(pattern, mutant)]
