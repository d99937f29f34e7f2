// Sockets over which descriptors come with the bytes, as JavaScript sees them.
#pragma once

#include <napi.h>

#include <memory>
#include <mutex>
#include <vector>

#include "io/descriptor_listener.h"
#include "io/descriptor_stream.h"
#include "napi/notifier.h"

namespace tsvmm {

// JavaScript thread. Both keep the process alive, and themselves from being collected, until they are closed.
class DescriptorSocketBinding : public Napi::ObjectWrap<DescriptorSocketBinding> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit DescriptorSocketBinding(const Napi::CallbackInfo& info);
  ~DescriptorSocketBinding() override;
  DescriptorSocketBinding(const DescriptorSocketBinding&) = delete;
  DescriptorSocketBinding& operator=(const DescriptorSocketBinding&) = delete;

 private:
  void start(const Napi::CallbackInfo& info);
  void read(const Napi::CallbackInfo& info);
  Napi::Value write(const Napi::CallbackInfo& info);
  void end(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  bool is_open(Napi::Env env) const;
  void deliver(Napi::Env env);
  // False where there is nothing more to deliver now.
  bool deliver_one(Napi::Env env);
  void call(const char* name, const std::vector<napi_value>& arguments);
  void shut_down();
  static void leave_environment(void* self);

  Napi::Env env_;
  std::unique_ptr<DescriptorStream> stream_;
  std::unique_ptr<Notifier> notifier_;
  Napi::ObjectReference callbacks_;
  Napi::ObjectReference self_;
};

class DescriptorListenerBinding : public Napi::ObjectWrap<DescriptorListenerBinding> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit DescriptorListenerBinding(const Napi::CallbackInfo& info);
  ~DescriptorListenerBinding() override;
  DescriptorListenerBinding(const DescriptorListenerBinding&) = delete;
  DescriptorListenerBinding& operator=(const DescriptorListenerBinding&) = delete;

 private:
  void start(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);
  void deliver(Napi::Env env);
  void shut_down();
  static void leave_environment(void* self);

  Napi::Env env_;
  std::mutex mutex_;
  std::vector<UniqueFd> accepted_;  // guarded by mutex_
  std::unique_ptr<Notifier> notifier_;
  std::unique_ptr<DescriptorListener> listener_;
  Napi::ObjectReference callbacks_;
  Napi::ObjectReference self_;
};

}  // namespace tsvmm
