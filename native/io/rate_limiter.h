// How much a device may do in a time: token buckets of bytes and of operations, in Cloud Hypervisor's terms.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>

namespace tsvmm {

// Times are nanoseconds of a clock that never goes backwards. One thread at a time.
class TokenBucket {
 public:
  // Neither size nor time is 0; each is below 2^53, so that no sum of theirs overflows.
  struct Limits {
    uint64_t size;
    uint64_t one_time_burst;  // on top of what a full bucket has, once
    uint64_t refill_ns;       // from empty to full
  };
  // What is left. A budget below zero is what was taken in advance.
  struct Level {
    uint64_t burst;
    int64_t budget;
  };
  // A budget never falls below this: more than any request takes.
  static constexpr int64_t kLeastBudget = -((int64_t{1} << 53) - 1);

  // Full.
  TokenBucket(const Limits& limits, uint64_t now_ns);

  // Until there is a token; 0: now. What is taken then may be more than there is, and is made up for by waiting.
  uint64_t wait_ns(uint64_t now_ns);
  void take(uint64_t tokens, uint64_t now_ns);

  const Limits& limits() const { return limits_; }
  Level level(uint64_t now_ns);
  // What is more than the limits allow is cut.
  void set_level(const Level& level, uint64_t now_ns);

 private:
  void refill(uint64_t now_ns);
  uint64_t time_for(uint64_t tokens) const;

  Limits limits_;
  uint64_t burst_;
  int64_t budget_;
  uint64_t refilled_until_ns_;
};

// Shared by all who are limited together. Any thread.
class RateLimiter {
 public:
  struct Limits {
    std::optional<TokenBucket::Limits> bytes;
    std::optional<TokenBucket::Limits> operations;
  };
  struct Levels {
    std::optional<TokenBucket::Level> bytes;
    std::optional<TokenBucket::Level> operations;
  };

  explicit RateLimiter(const Limits& limits);

  // How long whoever has something to do shall wait before he asks again; 0: not at all.
  uint64_t wait_ns();
  void take(uint64_t bytes, uint64_t operations);

  Levels levels();
  // Buckets that there are not are left out.
  void set_levels(const Levels& levels);

 private:
  std::mutex mutex_;  // guards those below
  std::optional<TokenBucket> bytes_;
  std::optional<TokenBucket> operations_;
};

}  // namespace tsvmm
