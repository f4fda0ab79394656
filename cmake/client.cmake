# Installs the C client: three archives, the headers it needs under include/tessera, a pkg-config file.
# `cmake --install BUILD --component client` installs nothing else.
install(TARGETS tessera_client tessera_rpc tessera_base
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT client OPTIONAL)
foreach(header
    base/arena.h base/bytes.h base/check.h base/file.h base/hash.h base/purse.h base/status.h base/status.def
    rpc/calls.h rpc/generate.h rpc/sampling.def rpc/methods.h rpc/methods.def rpc/msg.h rpc/results.h rpc/stats.def
    rpc/client/client.h rpc/client/socket.h)
  get_filename_component(folder ${header} DIRECTORY)
  install(FILES ${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tessera/${folder} COMPONENT client)
endforeach()
configure_file(rpc/client/tessera-client.pc.in tessera-client.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/tessera-client.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT client)
