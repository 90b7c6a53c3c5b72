// Memory of a thread's own that is kept from call to call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

class Scratch {
  public:
    // At least `count` numbers, whatever they are, from a cache line's beginning on.
    float* of(size_t count) {
        if (count > held) {
            memory.reset(new float[count + 16]);
            held = count;
        }
        return reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(memory.get()) + 63) / 64 * 64);
    }

  private:
    std::unique_ptr<float[]> memory;
    size_t held = 0;
};
