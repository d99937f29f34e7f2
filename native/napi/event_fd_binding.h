#pragma once

#include <napi.h>

#include <memory>

#include "sys/event_fd.h"

namespace tsvmm {

class EventFdBinding : public Napi::ObjectWrap<EventFdBinding> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit EventFdBinding(const Napi::CallbackInfo& info);

  // nullptr once closed. Engines share it, so that closing the object does not close a descriptor in use.
  std::shared_ptr<const EventFd> event_fd() const { return event_fd_; }

 private:
  Napi::Value fd(const Napi::CallbackInfo& info);
  Napi::Value is_pending(const Napi::CallbackInfo& info);
  Napi::Value drain(const Napi::CallbackInfo& info);
  void signal(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  std::shared_ptr<const EventFd> event_fd_;
};

// Throws and returns nullptr where `value` is not an open EventFd.
std::shared_ptr<const EventFd> read_event_fd(Napi::Value value, const char* name);

}  // namespace tsvmm
