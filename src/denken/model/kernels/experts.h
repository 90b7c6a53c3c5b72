// What a mixture of experts is made of, as denken.model.moe has it.
#pragma once

#include "operands.h"

// logits: hidden states in fp32 to a number for each expert. bias: moves who is chosen; may be absent. Groups are ranked by
// the sum of their best `groups_by`, and `best_groups` of them stay. normed: weights add up to 1, before the scale.
struct Router {
    Product logits;
    const float* bias;
    index_t experts, chosen, groups, best_groups, groups_by, sigmoid, normed;
    float scale;
};

// experts: of each its gate and up, side by side, and its down. shared: those that see every token; without inputs where
// there are none.
struct Mixture {
    Router router;
    const Product* experts;
    Product shared_gate_up, shared_down;
};
