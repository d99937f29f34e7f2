#include "napi/rate_limiter_binding.h"

#include "napi/addon_data.h"
#include "napi/arguments.h"

namespace tsvmm {

namespace {

constexpr auto kMost = static_cast<uint64_t>(kMaximumSafeInteger);
constexpr uint64_t kNsPerMs = 1'000'000;

// Nothing where the property is undefined. False where it is wrong; it has thrown then.
bool read_bucket(Napi::Object object, const char* name, std::optional<TokenBucket::Limits>& limits) {
  const Napi::Value value = object.Get(name);
  if (value.IsUndefined()) return true;
  if (!value.IsObject()) {
    Napi::TypeError::New(object.Env(), std::string(name) + " must be an object").ThrowAsJavaScriptException();
    return false;
  }
  const auto bucket = value.As<Napi::Object>();
  const auto size = read_uint(bucket.Get("size"), "size", kMost);
  if (!size) return false;
  const auto burst = read_uint(bucket.Get("oneTimeBurst"), "oneTimeBurst", kMost);
  if (!burst) return false;
  const auto refill = read_uint(bucket.Get("refillMs"), "refillMs", kMost / kNsPerMs);
  if (!refill) return false;
  if (*size == 0 || *refill == 0) {
    Napi::RangeError::New(object.Env(), "size and refillMs must not be 0").ThrowAsJavaScriptException();
    return false;
  }
  limits = TokenBucket::Limits{.size = *size, .one_time_burst = *burst, .refill_ns = *refill * kNsPerMs};
  return true;
}

void show_level(Napi::Object levels, const char* name, const std::optional<TokenBucket::Level>& level) {
  if (!level) return;
  auto object = Napi::Object::New(levels.Env());
  object.Set("burst", Napi::Number::New(levels.Env(), static_cast<double>(level->burst)));
  object.Set("budget", Napi::Number::New(levels.Env(), static_cast<double>(level->budget)));
  levels.Set(name, object);
}

bool read_level(Napi::Object object, const char* name, std::optional<TokenBucket::Level>& level) {
  const Napi::Value value = object.Get(name);
  if (value.IsUndefined()) return true;
  const auto fail = [&](const char* reason) {
    Napi::TypeError::New(object.Env(), std::string(name) + reason).ThrowAsJavaScriptException();
    return false;
  };
  if (!value.IsObject()) return fail(" must be an object");
  const auto burst = read_uint(value.As<Napi::Object>().Get("burst"), "burst", kMost);
  if (!burst) return false;
  const Napi::Value budget = value.As<Napi::Object>().Get("budget");
  if (!budget.IsNumber()) return fail(": budget must be a number");
  level = TokenBucket::Level{.burst = *burst, .budget = budget.As<Napi::Number>().Int64Value()};
  return true;
}

}  // namespace

void RateLimiterBinding::define(Napi::Env env, Napi::Object exports) {
  auto constructor = DefineClass(env, "RateLimiter",
                                 {InstanceMethod<&RateLimiterBinding::levels>("levels"),
                                  InstanceMethod<&RateLimiterBinding::set_levels>("setLevels")});
  addon_data(env).rate_limiter = Napi::Persistent(constructor);
  exports.Set("RateLimiter", constructor);
}

RateLimiterBinding::RateLimiterBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  if (!info[0].IsObject()) {
    Napi::TypeError::New(info.Env(), "limits must be an object").ThrowAsJavaScriptException();
    return;
  }
  RateLimiter::Limits limits;
  const auto object = info[0].As<Napi::Object>();
  if (!read_bucket(object, "bytes", limits.bytes) || !read_bucket(object, "operations", limits.operations)) return;
  limiter_ = std::make_shared<RateLimiter>(limits);
}

Napi::Value RateLimiterBinding::levels(const Napi::CallbackInfo& info) {
  const auto levels = limiter_->levels();
  auto object = Napi::Object::New(info.Env());
  show_level(object, "bytes", levels.bytes);
  show_level(object, "operations", levels.operations);
  return object;
}

void RateLimiterBinding::set_levels(const Napi::CallbackInfo& info) {
  if (!info[0].IsObject()) {
    return Napi::TypeError::New(info.Env(), "levels must be an object").ThrowAsJavaScriptException();
  }
  RateLimiter::Levels levels;
  const auto object = info[0].As<Napi::Object>();
  if (!read_level(object, "bytes", levels.bytes) || !read_level(object, "operations", levels.operations)) return;
  limiter_->set_levels(levels);
}

bool read_limiter_property(Napi::Object object, const char* name, std::shared_ptr<RateLimiter>& limiter) {
  const Napi::Value value = object.Get(name);
  if (value.IsUndefined()) return true;
  const auto* binding = unwrap<RateLimiterBinding>(value, addon_data(object.Env()).rate_limiter, name);
  if (binding == nullptr) return false;
  limiter = binding->limiter();
  return true;
}

}  // namespace tsvmm
