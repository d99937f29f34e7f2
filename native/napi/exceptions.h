// Exceptions that a call from native code into JavaScript left behind. Raw Node-API: its C++ wrapper is fatal for what
// a terminated worker leaves, and Node itself only warns of an exception in a callback.
#pragma once

#include <napi.h>

namespace tsvmm {

// The pending exception, cleared; nullptr for none, as where the environment is being terminated.
inline napi_value take_exception(napi_env env) {
  bool is_pending = false;
  napi_value error = nullptr;
  if (napi_is_exception_pending(env, &is_pending) != napi_ok || !is_pending) return nullptr;
  if (napi_get_and_clear_last_exception(env, &error) != napi_ok) return nullptr;
  return error;
}

// False where the environment is being terminated: what its event loop still brings has nobody to be told to.
inline bool runs_javascript(napi_env env) {
  napi_value global = nullptr;
  bool exists = false;
  return napi_get_global(env, &global) == napi_ok && napi_has_named_property(env, global, "Object", &exists) == napi_ok;
}

// Makes a pending exception an uncaught one.
inline void report_uncaught(napi_env env) {
  if (const auto error = take_exception(env); error != nullptr) napi_fatal_exception(env, error);
}

}  // namespace tsvmm
