%% A handler as it was written for mqtt 0.2.2, in Erlang.
-module(erlang_handler).
-behaviour(mqtt_server).
-export([
    init/2,
    handle_publish/4,
    handle_subscribe/3,
    handle_unsubscribe/2,
    handle_call/3,
    handle_cast/2,
    handle_info/2,
    terminate/2,
    code_change/3,
    start/1
]).
-include_lib("mqtt/include/mqtt_packet.hrl").

-record(state, {test, client}).

%% As in the README of 0.2.2: the process enters the loop with a socket of its own.
start({Test, Socket}) ->
    Pid = proc_lib:spawn(fun() ->
        receive go -> ok end,
        mqtt_server:enter_loop(?MODULE, Test, mqtt_transport:new(tcp, Socket))
    end),
    ok = gen_tcp:controlling_process(Socket, Pid),
    Pid ! go,
    Pid.

init(Test, #{client_id := Client, protocol := Protocol}) ->
    Test ! {init, self(), Protocol},
    {ok, #state{test = Test, client = Client}, {publish, [<<"clients/">>, Client], <<"up">>}}.

handle_publish(Topic, Message, #{qos := QoS, retain := Retain, dup := Dup}, State) ->
    Packet = #mqtt_publish{topic = Topic, message = Message, qos = QoS, retain = Retain, dup = Dup},
    {ok, State, {publish, <<"packet">>, mqtt_packet:encode(Packet)}}.

handle_subscribe(<<"deny">>, _QoS, State) -> {ok, failed, State};
handle_subscribe(_Topic, QoS, State) -> {ok, QoS, State}.

handle_unsubscribe(_Topic, State) -> {ok, State}.

handle_call(client, From, #state{client = Client} = State) ->
    {ok, State, [{reply, From, Client}]}.

handle_cast({publish, Topic, Message}, State) ->
    {ok, State, {publish, Topic, Message, #{retain => true}}}.

handle_info(Info, #state{test = Test} = State) ->
    Test ! {info, Info},
    {ok, State}.

terminate(Reason, #state{test = Test}) ->
    Test ! {terminate, Reason}.

code_change(_OldVsn, State, _Extra) ->
    {ok, State}.
