#include "napi/event_fd_binding.h"

#include "napi/addon_data.h"
#include "napi/arguments.h"

namespace tsvmm {

void EventFdBinding::define(Napi::Env env, Napi::Object exports) {
  auto constructor =
      DefineClass(env, "EventFd",
                  {InstanceAccessor<&EventFdBinding::fd>("fd"), InstanceMethod<&EventFdBinding::signal>("signal"),
                   InstanceMethod<&EventFdBinding::is_pending>("isPending"),
                   InstanceMethod<&EventFdBinding::drain>("drain"), InstanceMethod<&EventFdBinding::close>("close")});
  addon_data(env).event_fd = Napi::Persistent(constructor);
  exports.Set("EventFd", constructor);
}

EventFdBinding::EventFdBinding(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  auto created = EventFd::create();
  if (!created) {
    throw_failure(info.Env(), created.failure());
    return;
  }
  event_fd_ = std::make_shared<const EventFd>(std::move(created).value());
}

Napi::Value EventFdBinding::fd(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), event_fd_ ? event_fd_->get() : -1);
}

void EventFdBinding::signal(const Napi::CallbackInfo& info) {
  if (!event_fd_) return throw_closed(info.Env(), "EventFd");
  event_fd_->signal();
}

Napi::Value EventFdBinding::is_pending(const Napi::CallbackInfo& info) {
  if (!event_fd_) throw_closed(info.Env(), "EventFd");
  return Napi::Boolean::New(info.Env(), event_fd_ && event_fd_->is_pending());
}

Napi::Value EventFdBinding::drain(const Napi::CallbackInfo& info) {
  if (!event_fd_) throw_closed(info.Env(), "EventFd");
  return Napi::Boolean::New(info.Env(), event_fd_ && event_fd_->drain());
}

void EventFdBinding::close(const Napi::CallbackInfo&) { event_fd_.reset(); }

std::shared_ptr<const EventFd> read_event_fd(Napi::Value value, const char* name) {
  const auto* binding = unwrap<EventFdBinding>(value, addon_data(value.Env()).event_fd, name);
  if (binding == nullptr) return nullptr;
  auto event_fd = binding->event_fd();
  if (!event_fd) throw_closed(value.Env(), name);
  return event_fd;
}

}  // namespace tsvmm
