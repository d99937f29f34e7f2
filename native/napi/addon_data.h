// What belongs to one JavaScript environment: the constructors, to make objects from native code and to recognize them.
#pragma once

#include <napi.h>

namespace tsvmm {

struct AddonData {
  Napi::FunctionReference event_fd;
  Napi::FunctionReference mapping;
  Napi::FunctionReference guest_memory;
  Napi::FunctionReference memory_image;
  Napi::FunctionReference memory_receiver;
  Napi::FunctionReference late_memory;
  Napi::FunctionReference disk_image;
  Napi::FunctionReference rate_limiter;
  Napi::FunctionReference vm;
  Napi::FunctionReference vcpu;
  Napi::FunctionReference window;
};

inline AddonData& addon_data(Napi::Env env) { return *env.GetInstanceData<AddonData>(); }

// The native side of `value`; throws a TypeError that names the argument and returns nullptr where it is something
// else.
template <typename Binding>
Binding* unwrap(Napi::Value value, const Napi::FunctionReference& constructor, const char* name) {
  if (value.IsObject() && value.As<Napi::Object>().InstanceOf(constructor.Value())) {
    return Binding::Unwrap(value.As<Napi::Object>());
  }
  Napi::TypeError::New(value.Env(), std::string(name) + " is not what the addon made").ThrowAsJavaScriptException();
  return nullptr;
}

inline void throw_closed(Napi::Env env, const char* what) {
  Napi::Error::New(env, std::string(what) + " is closed").ThrowAsJavaScriptException();
}

}  // namespace tsvmm
