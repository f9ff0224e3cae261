defmodule MQTT.Broker.Options do
  @moduledoc false
  # What a broker does, as one struct.

  alias MQTT.{Listener, Options, Packet, Router}
  alias MQTT.Broker.Handler

  @schema [
    {:name, {:check, &__MODULE__.name/1, "an atom"}, MQTT.Broker,
     "A name for the broker, by which the functions of this module know it."},
    {:handler,
     {:check, &__MODULE__.handler/1,
      "a module with callbacks of MQTT.Broker.Handler or `{module, args}`"}, nil,
     "A module of `MQTT.Broker.Handler`, and what its callbacks get."},
    {:anonymous, {:in, [true, false, :loopback]}, :loopback,
     "Where there is neither a password file nor a handler that authenticates: with `:loopback` clients from this machine are let in, with `true` all. With a password file: whether clients without a user name are let in, which only `true` does."},
    {:password_file, {:check, &__MODULE__.path/1, "a path"}, nil,
     "A file of `MQTT.Broker.Passwords`, in which a client's user name and password must be."},
    {:acl_file, {:check, &__MODULE__.path/1, "a path"}, nil,
     "A file of `MQTT.Broker.ACL`, which says who may publish and subscribe to what."},
    {:connack, {:check, &__MODULE__.connack/1, "a map of properties of CONNACK"}, %{},
     "What else CONNACK says to clients of MQTT 5.0, as in `c:MQTT.Server.init/2`: `:server_keep_alive`, for example."},
    {:max_sessions, {:integer, 1, :infinity}, 1_000_000,
     "Sessions that there may be, with those of clients that are away. Further clients are refused."},
    {:max_session_expiry_interval,
     {:check, &__MODULE__.expiry/1, "a positive number of seconds or `:infinity`"}, :infinity,
     "How long a session may outlast its connection. One of MQTT 3.1.1 that is not clean has no other end; clients of MQTT 5.0 are told if it is less than they asked for."},
    {:takeover_timeout, :timeout, 5_000,
     "How long a connection may stay, because a callback takes long, whose session another one has."},
    {:max_process_messages, {:integer, 1, :infinity}, 10_000,
     "Messages that may wait in the mailbox of a process that has subscribed. Further ones are dropped and counted."},
    {:sys_interval, :timeout, 10_000,
     "How often the topics `$SYS/broker/…` are published, in milliseconds, or `:infinity` for never."},
    {:listeners, {:check, &__MODULE__.listeners/1, "a list of lists of options"}, [],
     "The options of further listeners: those of `MQTT.Listener` but for `:handler` and `:id`. What they do not say is as with the first one, but for the `:name`."}
  ]

  @session_names for {name, _, _, _} <- MQTT.Server.Options.session_schema(), do: name
  @server_names for {name, _, _, _} <- MQTT.Server.Options.schema(), do: name
  @router_names for {name, _, _, _} <- Router.schema(), do: name
  @names for {name, _, _, _} <- @schema, do: name
  # The listener's name would be the broker's, and its handler and id are ours.
  @listener_schema for {name, _, _, _} = option <-
                         Listener.Options.schema() ++ Listener.Options.server_schema(),
                       name not in [:handler, :name, :id],
                       do: option
  @listener_names for {name, _, _, _} <- @listener_schema, do: name

  @enforce_keys [
    :name,
    :handler,
    :anonymous,
    :password_file,
    :acl_file,
    :connack,
    :max_sessions,
    :max_session_expiry_interval,
    :takeover_timeout,
    :max_process_messages,
    :sys_interval,
    :listeners,
    :connection,
    :session,
    :router
  ]
  defstruct @enforce_keys

  @type t :: %__MODULE__{
          name: atom,
          handler: {module, term} | nil,
          anonymous: boolean | :loopback,
          password_file: Path.t() | nil,
          acl_file: Path.t() | nil,
          connack: map,
          max_sessions: pos_integer,
          max_session_expiry_interval: pos_integer | :infinity,
          takeover_timeout: timeout,
          max_process_messages: pos_integer,
          sys_interval: timeout,
          listeners: [keyword],
          connection: keyword,
          session: keyword,
          router: keyword
        }

  @doc "The options, or an `ArgumentError`."
  @spec new(keyword) :: t
  def new(options) do
    unless Keyword.keyword?(options) do
      raise ArgumentError,
            "the options of MQTT.Broker must be a keyword list, got: #{inspect(options)}"
    end

    Options.known!(options, @names ++ @router_names ++ @listener_names, "MQTT.Broker")
    {ours, others} = Keyword.split(options, @names)
    {router, listener} = Keyword.split(others, @router_names)
    map = ours |> Options.validate!(@schema, "MQTT.Broker") |> passwords!() |> somebody!()
    session = Keyword.take(listener, @session_names)

    for extra <- map.listeners, {name, _} <- extra, name in @session_names do
      raise ArgumentError,
            "option #{inspect(name)} of MQTT.Broker is that of all listeners, it cannot be in :listeners"
    end

    for extra <- map.listeners,
        do: Options.known!(extra, [:name | @listener_names], ":listeners of MQTT.Broker")

    listeners =
      for extra <- [[] | map.listeners] do
        options =
          listener
          |> Keyword.merge(extra)
          |> Keyword.put(:handler, {MQTT.Broker.Connection, map.name})

        # A wrong one is said before anything has been started.
        _ = Listener.Options.new(options, "MQTT.Broker")
        options
      end

    _ = Options.validate!(router, Router.schema(), "MQTT.Broker")
    connection = listener |> Keyword.take(@server_names) |> Keyword.drop(@session_names)
    # As is what its message_events/1 says.
    _ = Handler.hooks(map.handler)
    others = %{listeners: listeners, connection: connection, session: session, router: router}
    struct!(__MODULE__, Map.merge(map, others))
  end

  def schema, do: @schema
  def listener_schema, do: @listener_schema

  @doc "The options of a connection that is no listener's."
  @spec of_connection(keyword, keyword) :: keyword
  def of_connection(options, all) do
    unless Keyword.keyword?(options) do
      raise ArgumentError,
            "the options of MQTT.Broker.enter_loop/3 must be a keyword list, got: #{inspect(options)}"
    end

    Options.known!(options, @server_names -- @session_names, "MQTT.Broker.enter_loop/3")
    options = Keyword.merge(all, options)
    # For the sentences about what is wrong.
    _ = MQTT.Server.Options.new(MQTT.Broker.Connection, options)
    options
  end

  # It would count for nothing.
  defp passwords!(%{password_file: file, handler: {module, _}} = map) when file != nil do
    if function_exported?(module, :authenticate, 2) do
      raise ArgumentError,
            "option :password_file of MQTT.Broker is for a :handler without authenticate/2, and #{inspect(module)} has it; " <>
              "it may ask MQTT.Broker.Passwords"
    end

    map
  end

  defp passwords!(map), do: map

  # Otherwise it could not let anybody in.
  defp somebody!(%{anonymous: false, password_file: nil, handler: handler} = map) do
    authenticates? = with {module, _} <- handler, do: function_exported?(module, :authenticate, 2)

    unless authenticates? do
      raise ArgumentError,
            "option :anonymous of MQTT.Broker is false, so that it needs a :password_file, or a :handler with authenticate/2"
    end

    map
  end

  defp somebody!(map), do: map

  def name(name) when is_atom(name) and name not in [nil, true, false], do: {:ok, name}
  def name(_), do: :error

  def handler(nil), do: {:ok, nil}

  def handler({module, args}) when is_atom(module) do
    if Code.ensure_loaded?(module) and Handler.any?(module),
      do: {:ok, {module, args}},
      else: :error
  end

  def handler(module) when is_atom(module), do: handler({module, []})
  def handler(_), do: :error

  def path(nil), do: {:ok, nil}
  def path(path) when is_binary(path), do: {:ok, path}
  def path(_), do: :error

  def expiry(:infinity), do: {:ok, :infinity}
  def expiry(seconds) when seconds in 1..0xFFFFFFFE, do: {:ok, seconds}
  def expiry(_), do: :error

  # These answer what a client says.
  @answers [:assigned_client_identifier, :authentication_method, :authentication_data]

  def connack(properties) do
    packet = %{type: :connack, session_present: false, reason_code: 0, properties: properties}

    case Packet.encode(packet, 5) do
      {:ok, _} ->
        answer = Enum.find(@answers, &is_map_key(properties, &1))
        if answer, do: no_connack(answer, properties), else: {:ok, properties}

      {:error, {:invalid_property, name}} ->
        no_connack(name, properties)

      {:error, _} ->
        :error
    end
  end

  @spec no_connack(atom, map) :: no_return
  defp no_connack(name, properties) do
    raise ArgumentError,
          "option :connack of MQTT.Broker cannot have #{inspect(name)}, or not with the value #{inspect(properties[name])}"
  end

  def listeners(listeners) do
    if is_list(listeners) and Enum.all?(listeners, &Keyword.keyword?/1),
      do: {:ok, listeners},
      else: :error
  end
end
