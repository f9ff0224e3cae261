defmodule MQTT.Test.Acceptor do
  @moduledoc false
  # Accepts sockets as a user of MQTT.Server.enter_loop/3 does, over each of the transports.

  use GenServer

  @doc """
  Starts an acceptor under the test's supervisor and gives its port.

  `:transport` is `:tcp` (the inet driver), `:socket` (gen_tcp over the socket backend), `:ssl` or
  `:listener`. `:module`, `:args` and `:options` are those of the server; `:prepare` is called with
  each accepted socket before it enters the loop.
  """
  def start(opts) do
    id = make_ref()

    case Keyword.fetch!(opts, :transport) do
      :listener ->
        handler = {opts[:module], opts[:args]}

        options =
          [ip: {127, 0, 0, 1}, port: 0, handler: handler, id: id] ++ (opts[:options] || [])

        listener = ExUnit.Callbacks.start_supervised!({MQTT.Listener, options})
        MQTT.Listener.info(listener).port

      _ ->
        spec = Supervisor.child_spec({__MODULE__, opts}, id: id)
        spec |> ExUnit.Callbacks.start_supervised!() |> GenServer.call(:port)
    end
  end

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts)

  @impl true
  def init(opts) do
    {:ok, socket, port} = listen(opts[:transport])
    owner = self()
    spawn_link(fn -> accept(opts[:transport], socket, owner, opts) end)
    {:ok, %{socket: socket, port: port, opts: opts}}
  end

  @impl true
  def handle_call(:port, _from, s), do: {:reply, s.port, s}

  defp listen(:ssl) do
    opts = [:binary, active: false, reuseaddr: true, ip: {127, 0, 0, 1}] ++ certificate()
    {:ok, socket} = :ssl.listen(0, opts)
    {:ok, {_, port}} = :ssl.sockname(socket)
    {:ok, socket, port}
  end

  defp listen(transport) do
    backend = if transport == :socket, do: [inet_backend: :socket], else: []
    opts = backend ++ [:binary, active: false, reuseaddr: true, ip: {127, 0, 0, 1}]
    {:ok, socket} = :gen_tcp.listen(0, opts)
    {:ok, port} = :inet.port(socket)
    {:ok, socket, port}
  end

  defp accept(transport, listen_socket, owner, opts) do
    socket = accept_one(transport, listen_socket)
    type = if transport == :ssl, do: :ssl, else: :tcp

    pid =
      :proc_lib.spawn(fn ->
        receive do: (:go -> :ok)
        if opts[:prepare], do: opts[:prepare].(socket)
        transport = MQTT.Transport.new(type, socket)
        MQTT.Server.enter_loop(opts[:module], opts[:args], transport, opts[:options] || [])
      end)

    :ok =
      if type == :ssl,
        do: :ssl.controlling_process(socket, pid),
        else: :gen_tcp.controlling_process(socket, pid)

    send(pid, :go)
    accept(transport, listen_socket, owner, opts)
  end

  defp accept_one(:ssl, listen_socket) do
    with {:ok, socket} <- :ssl.transport_accept(listen_socket),
         {:ok, socket} <- :ssl.handshake(socket, 5_000) do
      socket
    else
      _ -> accept_one(:ssl, listen_socket)
    end
  end

  defp accept_one(_transport, listen_socket) do
    {:ok, socket} = :gen_tcp.accept(listen_socket)
    socket
  end

  @doc "Options of `:ssl` with a certificate of our own, made once."
  def certificate do
    case :persistent_term.get(__MODULE__, nil) do
      nil ->
        key = [digest: :sha256, key: {:namedCurve, :secp256r1}]
        chain = %{root: key, intermediates: [], peer: key}

        %{server_config: config} =
          :public_key.pkix_test_data(%{server_chain: chain, client_chain: chain})

        :persistent_term.put(__MODULE__, config)
        config

      config ->
        config
    end
  end
end
