// The engines as JavaScript sees them.
#pragma once

#include <napi.h>

#include <memory>

#include "napi/engine_host.h"
#include "virtio/block_engine.h"
#include "virtio/block_queue.h"
#include "virtio/mailbox_engine.h"

namespace tsvmm {

// What all engines have in common; `Binding` derives from it.
template <typename Binding>
class EngineBinding : public Napi::ObjectWrap<Binding> {
 public:
  explicit EngineBinding(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Binding>(info) {}

 protected:
  using Wrap = Napi::ObjectWrap<Binding>;

  static std::vector<typename Wrap::PropertyDescriptor> methods() {
    using Void = void (Binding::*)(const Napi::CallbackInfo&);
    using Value = Napi::Value (Binding::*)(const Napi::CallbackInfo&);
    return {Wrap::InstanceMethod("start", static_cast<Void>(&EngineBinding::start)),
            Wrap::InstanceMethod("setMode", static_cast<Void>(&EngineBinding::set_mode)),
            Wrap::InstanceMethod("stop", static_cast<Value>(&EngineBinding::stop)),
            Wrap::InstanceMethod("counters", static_cast<Value>(&EngineBinding::counters)),
            Wrap::InstanceMethod("close", static_cast<Void>(&EngineBinding::close))};
  }

  // Nothing where the argument is no object; it has thrown then.
  std::optional<EngineOptions> open(const Napi::CallbackInfo& info, std::function<void(Napi::Env)> work = {}) {
    if (!info[0].IsObject()) {
      Napi::TypeError::New(info.Env(), "options must be an object").ThrowAsJavaScriptException();
      return {};
    }
    const auto options = info[0].As<Napi::Object>();
    host_ = std::make_unique<EngineHost>(info.Env(), options, std::move(work));
    return host_->read_options(options);
  }

  // A constructor that threw leaves an object that JavaScript never sees; the rest have a host.
  void start(const Napi::CallbackInfo& info) {
    host_->start(info, Napi::Persistent(info.This().template As<Napi::Object>()));
  }
  void set_mode(const Napi::CallbackInfo& info) { host_->set_mode(info); }
  Napi::Value stop(const Napi::CallbackInfo& info) { return host_->stop(info); }
  Napi::Value counters(const Napi::CallbackInfo& info) { return host_->counters(info); }
  void close(const Napi::CallbackInfo& info) { host_->close(info.Env()); }

  std::unique_ptr<EngineHost> host_;
};

class BlockEngineBinding : public EngineBinding<BlockEngineBinding> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit BlockEngineBinding(const Napi::CallbackInfo& info);

 private:
  void make(Napi::Env env, EngineOptions options);
  void grow(const Napi::CallbackInfo& info);
  bool open_disk(Napi::Object object, BlockShared& shared);

  BlockEngine* engine_ = nullptr;  // the host owns it
};

class NetEngineBinding : public EngineBinding<NetEngineBinding> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit NetEngineBinding(const Napi::CallbackInfo& info);

 private:
  void make(Napi::Env env, EngineOptions options);
};

class MailboxEngineBinding : public EngineBinding<MailboxEngineBinding> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit MailboxEngineBinding(const Napi::CallbackInfo& info);

 private:
  void make(Napi::Env env, EngineOptions options);
  void complete(const Napi::CallbackInfo& info);
  void deliver(Napi::Env env);

  MailboxEngine* engine_ = nullptr;  // the host owns it
};

}  // namespace tsvmm
