#pragma once

#include <napi.h>

#include <memory>

#include "napi/vm_host.h"

namespace tsvmm {

class VmBinding : public Napi::ObjectWrap<VmBinding> {
 public:
  static void define(Napi::Env env);
  static Napi::Value make(Napi::Env env, std::shared_ptr<VmHost> host);
  explicit VmBinding(const Napi::CallbackInfo& info);

 private:
  void enable_capability(const Napi::CallbackInfo& info);
  Napi::Value check_extension(const Napi::CallbackInfo& info);
  void set_tss_address(const Napi::CallbackInfo& info);
  void set_identity_map_address(const Napi::CallbackInfo& info);
  void set_memory_slot(const Napi::CallbackInfo& info);
  void remove_memory_slot(const Napi::CallbackInfo& info);
  void start_dirty_tracking(const Napi::CallbackInfo& info);
  Napi::Value take_dirty_pages(const Napi::CallbackInfo& info);
  void stop_dirty_tracking(const Napi::CallbackInfo& info);
  Napi::Value is_tracking_dirty_pages(const Napi::CallbackInfo& info);
  void set_gsi_routes(const Napi::CallbackInfo& info);
  void signal_msi(const Napi::CallbackInfo& info);
  void attach_irqfd(const Napi::CallbackInfo& info);
  void detach_irqfd(const Napi::CallbackInfo& info);
  void attach_doorbell(const Napi::CallbackInfo& info);
  void detach_doorbell(const Napi::CallbackInfo& info);
  Napi::Value clock(const Napi::CallbackInfo& info);
  void set_clock(const Napi::CallbackInfo& info);
  void set_trap_handlers(const Napi::CallbackInfo& info);
  Napi::Value map_window(const Napi::CallbackInfo& info);
  Napi::Value create_vcpu(const Napi::CallbackInfo& info);
  Napi::Value exit_counters(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  bool is_open(Napi::Env env) const;
  void set_irqfd(const Napi::CallbackInfo& info, bool attached);
  void set_doorbell(const Napi::CallbackInfo& info, bool attached);

  std::shared_ptr<VmHost> host_;
};

}  // namespace tsvmm
