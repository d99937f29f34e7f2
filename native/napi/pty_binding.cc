#include "napi/pty_binding.h"

#include "napi/arguments.h"
#include "sys/pty.h"

namespace tsvmm {

namespace {

Napi::Value open_pty_binding(const Napi::CallbackInfo& info) {
  const auto env = info.Env();
  auto opened = Pty::open();
  if (!opened) {
    throw_failure(env, opened.failure());
    return env.Undefined();
  }
  auto& pty = opened.value();
  auto object = Napi::Object::New(env);
  object.Set("path", Napi::String::New(env, pty.path));
  // From here on it is JavaScript's to close.
  object.Set("masterFd", Napi::Number::New(env, pty.master.release()));
  return object;
}

}  // namespace

void define_pty(Napi::Env env, Napi::Object exports) {
  exports.Set("openPty", Napi::Function::New<open_pty_binding>(env, "openPty"));
}

}  // namespace tsvmm
