target_sources(addon PRIVATE napi/addon.cc napi/arguments.cc napi/connection_bindings.cc napi/descriptor_bindings.cc
  napi/disk_image_binding.cc napi/event_fd_binding.cc napi/event_queue.cc napi/notifier.cc
  napi/exchange_binding.cc napi/image_job.cc napi/image_writer_binding.cc napi/kvm_binding.cc napi/memory_binding.cc
  napi/memory_image_binding.cc napi/page_server_binding.cc napi/pty_binding.cc napi/rate_limiter_binding.cc
  napi/transfer_bindings.cc napi/vcpu_binding.cc napi/virtio_bindings.cc napi/vm_binding.cc napi/vm_host.cc
  napi/window_binding.cc)
