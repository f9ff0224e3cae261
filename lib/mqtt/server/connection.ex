defmodule MQTT.Server.Connection do
  @moduledoc false
  # The process of a connection. The native side tells events, the handler's callbacks answer with
  # actions, and these go back as commands, a batch in one call. No protocol is known here.
  #
  # Until CONNECT is accepted, which may take several rounds of authentication, calls, casts and
  # messages are kept. `connection/` has its parts: `Connecting` until then, `Actions` of callbacks, `Mailbox`, `Asking` about messages, `Time`, `Heap`.

  @behaviour :gen_server

  import MQTT.Server.Connection.{Actions, Asking, Connecting, Time}

  alias MQTT.{Native, Reason, Transport}
  alias MQTT.Server.{Events, Options, Poller, Will, Writer}
  alias MQTT.Server.Connection.{Heap, Mailbox}
  alias MQTT.Server.Events.Handler

  @enforce_keys [:module, :handler, :state, :connection, :io, :corked, :heap, :parent]
  defstruct @enforce_keys ++
              [
                phase: :connecting,
                params: %{},
                assigned_id: nil,
                will: nil,
                refs: %{},
                kept: [],
                timer: nil,
                last_chance: false,
                left: false,
                asks: false
              ]

  # state: the arguments of init/2 before CONNECT, then the handler's state
  # io: :native, or {:ssl, socket} when the bytes are read and written here
  # heap: see `Heap`
  # parent: whose end ends the process, see `Mailbox`
  # phase: :connecting, then maybe :authenticating, then :connected
  # params: what is known about the connection besides CONNECT, then with it, until it is accepted
  # assigned_id: the client identifier, if we chose it
  # will: what is to be published when the connection ends, if that is ours to see to
  # refs: what the numbers stand for that messages to the client have, see `MQTT.Server.Deliveries`
  # left: whether the client has sent DISCONNECT, behind which it reads and sends nothing
  # asks: whether handle_delivery/4 is called for each message of the session
  # corked: commands to be written
  # kept: what came before CONNECT, the last one first; then, what of it is not yet handled

  @doc "Turns the calling process into the connection of an accepted socket."
  @spec enter_loop(module, term, Transport.t(), Options.t()) :: no_return
  def enter_loop(module, args, transport, options) do
    heap = Heap.connect()

    case Transport.open(transport, options) do
      {:ok, connection, io} ->
        send(self(), {:"$mqtt", :start})
        loop(connection, io, %{}, %{start_arguments(module, args, options) | heap: heap})

      {:error, reason} ->
        exit({:shutdown, open_reason(reason)})
    end
  end

  # The peer was quicker, by one of its names.
  defp open_reason(reason) when reason in [:closed, :einval, :enotconn, :econnreset, :ebadf],
    do: :closed

  defp open_reason(reason), do: {:socket_error, reason}

  @doc "What is the same for all connections of a handler."
  @spec start_arguments(module, term, Options.t()) :: map
  def start_arguments(module, args, options) do
    loop_options = [hibernate_after: options.hibernate_after]
    {words, heap} = Heap.connecting()
    %{handler: {module, args}, loop_options: loop_options, heap: heap, words: words}
  end

  @doc "Starts the process of a client that waits at a listener."
  @spec spawn_link(reference, map) :: pid
  def spawn_link(listener, start) do
    options = [:link, min_heap_size: start.words]
    :proc_lib.spawn_opt(__MODULE__, :enter_taken, [listener, start], options)
  end

  @doc "Turns the calling process into the connection of a client that waits at a listener."
  @spec enter_taken(reference, map) :: no_return
  def enter_taken(listener, start) do
    # So that terminate/2 runs when the supervisor ends the process.
    Process.flag(:trap_exit, true)

    case Native.listener_take(listener) do
      {:ok, connection, {peer, local}} ->
        send(self(), {:"$mqtt", :start})
        loop(connection, :native, %{transport: :tcp, peer: peer, local: local}, start)

      {:error, :closed} ->
        exit({:shutdown, :closed})
    end
  end

  defp loop(connection, io, params, %{handler: {module, args}} = start) do
    s = %__MODULE__{
      module: module,
      handler: Handler.of(module),
      state: args,
      connection: connection,
      io: io,
      corked: Events.none(),
      heap: start.heap,
      parent: parent(),
      params: params
    }

    if io == :native, do: Poller.ensure_started()
    Process.put(:"$mqtt_connection", connection)
    :gen_server.enter_loop(__MODULE__, start.loop_options, s)
  end

  @doc "See `MQTT.Server.info/1`."
  @spec info(GenServer.server()) :: MQTT.Server.info()
  def info(process), do: GenServer.call(process, {:"$mqtt", :info})

  @doc "See `MQTT.Server.connection/0`."
  @spec current() :: reference | nil
  def current, do: Process.get(:"$mqtt_connection")

  @impl true
  def init(_), do: {:stop, :unexpected_call_to_init}

  @impl true
  def handle_call({:"$mqtt", :info}, _from, s), do: {:reply, Mailbox.info(s), s}

  def handle_call(request, from, %{phase: :connected} = s) do
    Mailbox.handle({:"$gen_call", from, request}, s)
  end

  def handle_call(request, from, s), do: keep({:"$gen_call", from, request}, s)

  @impl true
  def handle_cast(request, %{phase: :connected} = s),
    do: Mailbox.handle({:"$gen_cast", request}, s)

  def handle_cast(request, s), do: keep({:"$gen_cast", request}, s)

  @impl true
  def handle_info({:"$mqtt", :start}, s) do
    case s |> describe() |> read() do
      {:noreply, %{phase: :connecting} = s} -> check_time(s)
      other -> other
    end
  end

  def handle_info({:"$mqtt", :corked}, s), do: flush(s)
  def handle_info({:"$mqtt", :check_time}, s), do: check_time(s)
  def handle_info({:"$mqtt", :send_timeout}, s), do: {:stop, {:shutdown, :send_timeout}, s}
  def handle_info({:"$mqtt", :send_queue_full}, s), do: {:stop, {:shutdown, :send_queue_full}, s}
  def handle_info({:"$mqtt", :flooded}, s), do: {:noreply, Heap.flooded(s)}
  def handle_info({:"$mqtt", :session}, s), do: [] |> write(s) |> and_then(&ask/1)
  def handle_info({:"$mqtt", :output}, s), do: write([], s)

  def handle_info({:"$mqtt", {:session_taken_over, _clean}}, s),
    do: {:stop, {:shutdown, :session_taken_over}, s}

  def handle_info({:"$mqtt", _readable_or_more_or_drained}, s),
    do: s |> read() |> and_then(&ask/1)

  def handle_info({:ssl, socket, data}, %{io: {:ssl, socket}} = s),
    do: data |> feed(s) |> and_then(&ask/1)

  def handle_info({:ssl_closed, socket}, %{io: {:ssl, socket}} = s),
    do: {:stop, {:shutdown, :closed}, s}

  def handle_info({:ssl_error, socket, reason}, %{io: {:ssl, socket}} = s),
    do: {:stop, {:shutdown, {:socket_error, reason}}, s}

  def handle_info(message, %{phase: :connected} = s), do: Mailbox.handle(message, s)
  def handle_info(message, s), do: keep(message, s)

  # One kept message after the other, each with the state that the one before it left.
  @impl true
  def handle_continue(:kept, %{kept: []} = s) do
    # Most clients are silent now. What CONNECT took is given back before many others have come.
    with {:noreply, s} <- s |> read() |> and_then(&ask/1), do: {:noreply, s, :hibernate}
  end

  def handle_continue(:kept, %{kept: [message | kept]} = s) do
    Mailbox.call(message, s, s.state)
    |> returned(%{s | kept: kept})
    |> and_then(&{:noreply, &1, {:continue, :kept}})
  end

  # What ended the turn of others. Behind it gen_server looks at its own.
  def handle_continue({:message, message}, s) do
    case {message, s} do
      # As gen_server would.
      {{:EXIT, parent, reason}, %{parent: parent}} -> {:stop, reason, s}
      {{:"$mqtt", _}, _} -> handle_info(message, s)
      {message, %{io: {:ssl, socket}}} when elem(message, 1) == socket -> handle_info(message, s)
      _ -> message |> Mailbox.call(s, s.state) |> returned(s)
    end
    |> and_then(&flush/1)
  end

  def handle_continue({:raise, _message, kind, value, stacktrace}, _s),
    do: :erlang.raise(kind, value, stacktrace)

  # Found out while it lives: one that has ended has no name any more.
  defp parent do
    case Process.get(:"$ancestors") do
      [name | _] when is_atom(name) -> Process.whereis(name)
      [pid | _] -> pid
      _ -> nil
    end
  end

  @impl true
  def code_change(old_vsn, %{phase: :connected} = s, extra) do
    result = s.module.code_change(old_vsn, s.state, extra)
    Writer.release()
    with {:ok, state} <- result, do: {:ok, %{s | state: state, handler: Handler.of(s.module)}}
  end

  def code_change(_old_vsn, s, _extra), do: {:ok, s}

  @impl true
  def terminate(reason, s) do
    s = s |> flush() |> state_of()
    _ = say_goodbye(reason, s)
    if s.phase == :connected, do: finish(reason, s)
  after
    Writer.release()
    close(s.connection, not s.left and linger?(reason))
    with {:ssl, socket} <- s.io, do: :ssl.close(socket)
  end

  # What the client has published reaches all.
  defp close(connection, linger) do
    with :more <- Native.connection_close(connection, linger), do: close(connection, linger)
  end

  # terminate/2 comes last, also when one of the callbacks before it raises.
  defp finish(reason, s) do
    s =
      try do
        s |> publish_will() |> lose()
      catch
        kind, value ->
          s.module.terminate(reason, s.state)
          :erlang.raise(kind, value, __STACKTRACE__)
      end

    s.module.terminate(reason, s.state)
  end

  # MQTT 5.0 tells the client why, unless that was done or the client is gone.
  defp say_goodbye({:shutdown, :closed}, s), do: {:noreply, s}
  defp say_goodbye(_reason, %{left: true} = s), do: {:noreply, s}

  defp say_goodbye(reason, s) do
    code =
      case reason do
        :normal -> 0x00
        :shutdown -> Reason.code(:server_shutting_down)
        {:shutdown, {:protocol_error, violation}} -> Reason.fetch(violation)
        {:shutdown, reason} -> Reason.fetch(reason)
        _ -> Reason.code(:implementation_specific_error)
      end

    case code do
      {:ok, code} -> disconnect(code, %{}, s)
      :error -> disconnect(Reason.code(:unspecified_error), %{}, s)
      code -> disconnect(code, %{}, s)
    end
  end

  # The will that was to be published for the handler.
  defp publish_will(%{will: nil} = s), do: s

  # Behind what the client has published.
  defp publish_will(s) do
    settle(s.connection)
    %{s | state: Will.publish(s.will, s.module, s.state)}
  end

  defp settle(connection) do
    with :more <- Native.connection_settle(connection), do: settle(connection)
  end

  defp forget_will(%{will: nil} = s), do: s

  defp forget_will(s) do
    Will.Guard.leave()
    %{s | will: nil}
  end

  # Nothing more will be known of these.
  defp lose(s) do
    for {_number, refs} <- Enum.sort(s.refs), ref <- Enum.reverse(refs), reduce: s do
      s -> ref |> tell_delivered({:error, :connection_lost}, s, &apply/3) |> state_of()
    end
  end

  # Whether the peer may still be there to read what was sent last.
  defp linger?({:shutdown, reason})
       when reason in [:closed, :keep_alive_timeout, :send_timeout, :send_queue_full],
       do: false

  defp linger?(_reason), do: true

  defp keep(message, s), do: {:noreply, %{s | kept: [message | s.kept]}}

  ## In

  defp read(%{io: :native} = s), do: Native.connection_receive(s.connection) |> received(s)
  defp read(s), do: feed("", s)

  defp feed(data, s), do: Native.connection_feed(s.connection, data) |> received(s)

  defp received({events, deliveries, next}, s) do
    # What has become of messages comes behind what the client sent.
    case handle_events(events, s) do
      {:noreply, s} -> deliveries |> delivered(s) |> and_then(&next(&1, next))
      {:stop, reason, s} -> {:stop, reason, deliveries |> delivered(s) |> state_of()}
    end
  end

  defp received({[{:connect, params}], :decide}, s), do: connect(params, s)

  defp received({[{:auth, code, properties}], :decide}, %{phase: :authenticating} = s) do
    fn -> s.module.handle_auth(Reason.name(code), properties, s.state) end
    |> Events.confidential()
    |> decided(s)
  end

  defp received({events, next}, s), do: events |> handle_events(s) |> and_then(&next(&1, next))

  defp handle_events([], s), do: write_ssl(s)

  # Its DISCONNECT.
  defp handle_events(_events, %{phase: :authenticating} = s), do: {:stop, {:shutdown, :closed}, s}

  defp handle_events(events, s) do
    result = Events.handle(events, s.handler, s.state, s.corked)
    Writer.release()

    case result do
      {:ok, state, commands} ->
        flush(%{s | state: state, corked: commands})

      {:stop, reason, state, commands} ->
        {:stop, reason, %{s | state: state, corked: commands}}

      {:disconnect, code, properties, state, commands} ->
        disconnected(code, properties, %{s | state: state, corked: commands})
    end
  end

  # The client's DISCONNECT. Only one that says nothing else forgets the will [MQTT-3.14.4-3].
  defp disconnected(0x00, properties, s) do
    disconnected(:normal_disconnection, properties, :normal, %{forget_will(s) | left: true})
  end

  defp disconnected(code, properties, s) do
    name = Reason.name(code)
    disconnected(name, properties, {:shutdown, {:disconnected, name}}, %{s | left: true})
  end

  defp disconnected(name, properties, reason, s) do
    if :handle_disconnect in s.handler.optional do
      case s.module.handle_disconnect(name, properties, s.state) |> returned(s) do
        {:noreply, s} -> {:stop, reason, s}
        stop -> stop
      end
    else
      {:stop, reason, s}
    end
  end

  defp next(s, {:collect, next}), do: s |> Heap.collect() |> go_on(next)
  defp next(%{phase: :connected} = s, next), do: s |> Heap.connected() |> go_on(next)
  defp next(s, next), do: go_on(s, next)

  defp go_on(%{io: {:ssl, socket}} = s, :wait) do
    case Transport.SSL.activate(socket) do
      :ok -> {:noreply, s}
      {:error, _} -> {:stop, {:shutdown, :closed}, s}
    end
  end

  defp go_on(s, :wait), do: {:noreply, s}
  defp go_on(s, :blocked), do: {:noreply, s}
  defp go_on(s, {:close, reason}), do: {:stop, {:shutdown, reason}, s}

  defp go_on(s, :more) do
    send(self(), {:"$mqtt", :more})
    {:noreply, s}
  end
end
