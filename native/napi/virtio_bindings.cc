#include "napi/virtio_bindings.h"

#include "disk/probe.h"
#include "napi/arguments.h"
#include "napi/disk_image_binding.h"
#include "napi/engine_bindings.h"
#include "napi/rate_limiter_binding.h"
#include "napi/tap_binding.h"

namespace tsvmm {

namespace {

Napi::Value lock_file_binding(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  const auto fd = read_uint(info[0], "fd", INT32_MAX);
  if (!fd) return env.Undefined();
  const auto kind = read_string(info[1], "kind");
  if (!kind) return env.Undefined();
  if (*kind != "shared" && *kind != "exclusive") {
    Napi::RangeError::New(env, "kind must be shared or exclusive").ThrowAsJavaScriptException();
    return env.Undefined();
  }
  const auto locked = lock_file(static_cast<int>(*fd), *kind == "exclusive");
  if (locked) return Napi::Boolean::New(env, locked.value());
  throw_failure(env, locked.failure());
  return env.Undefined();
}

void unlock_file_binding(const Napi::CallbackInfo& info) {
  const auto fd = read_uint(info[0], "fd", INT32_MAX);
  if (!fd) return;
  if (const auto unlocked = unlock_file(static_cast<int>(*fd)); !unlocked)
    throw_failure(info.Env(), unlocked.failure());
}

void forget_cached_binding(const Napi::CallbackInfo& info) {
  const auto fd = read_uint(info[0], "fd", INT32_MAX);
  if (!fd) return;
  if (const auto done = forget_cached(static_cast<int>(*fd)); !done) throw_failure(info.Env(), done.failure());
}

Napi::Value probe_disk_binding(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  const auto fd = read_uint(info[0], "fd", INT32_MAX);
  if (!fd) return env.Undefined();
  const auto probe = probe_disk(static_cast<int>(*fd));
  if (!probe) {
    throw_failure(env, probe.failure());
    return env.Undefined();
  }
  auto object = Napi::Object::New(env);
  object.Set("sizeBytes", Napi::Number::New(env, static_cast<double>(probe.value().size)));
  object.Set("logicalBlockBytes", Napi::Number::New(env, probe.value().logical_block));
  object.Set("discard", Napi::Boolean::New(env, probe.value().discard));
  object.Set("writeZeroes", Napi::Boolean::New(env, probe.value().write_zeroes));
  return object;
}

}  // namespace

void define_virtio(Napi::Env env, Napi::Object exports) {
  DiskImageBinding::define(env, exports);
  RateLimiterBinding::define(env, exports);
  BlockEngineBinding::define(env, exports);
  NetEngineBinding::define(env, exports);
  MailboxEngineBinding::define(env, exports);
  TapBinding::define(env, exports);
  exports.Set("lockFile", Napi::Function::New<lock_file_binding>(env, "lockFile"));
  exports.Set("unlockFile", Napi::Function::New<unlock_file_binding>(env, "unlockFile"));
  exports.Set("forgetCached", Napi::Function::New<forget_cached_binding>(env, "forgetCached"));
  exports.Set("probeDisk", Napi::Function::New<probe_disk_binding>(env, "probeDisk"));
}

}  // namespace tsvmm
