// A rate limiter, which engines share.
#pragma once

#include <napi.h>

#include <memory>

#include "io/rate_limiter.h"

namespace tsvmm {

class RateLimiterBinding : public Napi::ObjectWrap<RateLimiterBinding> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit RateLimiterBinding(const Napi::CallbackInfo& info);

  const std::shared_ptr<RateLimiter>& limiter() const { return limiter_; }

 private:
  Napi::Value levels(const Napi::CallbackInfo& info);
  void set_levels(const Napi::CallbackInfo& info);

  std::shared_ptr<RateLimiter> limiter_;
};

// nullptr where the property is undefined. Throws, and returns false, where it is no RateLimiter.
bool read_limiter_property(Napi::Object object, const char* name, std::shared_ptr<RateLimiter>& limiter);

}  // namespace tsvmm
