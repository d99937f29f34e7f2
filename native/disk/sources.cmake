target_sources(core PRIVATE disk/disk_access.cc disk/file_areas.cc disk/image_error.cc disk/image_file.cc disk/mapped_image.cc disk/probe.cc
  disk/table_cache.cc
  disk/qcow2/cluster_table.cc disk/qcow2/decompress.cc disk/qcow2/header.cc disk/qcow2/image.cc
  disk/qcow2/image_clear.cc disk/qcow2/image_flush.cc disk/qcow2/image_write.cc disk/qcow2/refcounts.cc
  disk/vhdx/image.cc disk/vhdx/layout.cc disk/vhdx/log.cc)
if(TARGET native_tests)
  target_sources(native_tests PRIVATE disk/probe_test.cc disk/qcow2/image_test.cc disk/qcow2/image_crash_test.cc
    disk/qcow2/hostile_image_test.cc disk/vhdx/image_test.cc)
endif()
